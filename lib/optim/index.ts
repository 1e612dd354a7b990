/**
 * What changes parameters: optimisers, schedules of the learning rate, scaling of the loss.
 *
 * @module optim
 */
export * from './loss-scaler.js';
export type { ParameterList } from './parameter-list.js';
export * from './schedule.js';
export * from './sgd.js';
