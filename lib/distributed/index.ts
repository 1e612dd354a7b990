/**
 * Processes that train together.
 *
 * @module distributed
 */
export type { ProcessGroup, ProcessGroupBackend } from './group.js';
export { type ProcessPlace, processPlace } from './process-environment.js';
export { openProcessGroup, type ProcessGroupOptions, processGroupProblem } from './process-group.js';
