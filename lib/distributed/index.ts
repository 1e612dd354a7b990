/**
 * Processes that train together.
 *
 * @module distributed
 */
export { type ProcessPlace, processPlace } from './process-environment.js';
export {
  openProcessGroup,
  type ProcessGroup,
  type ProcessGroupOptions,
  processGroupProblem,
} from './process-group.js';
