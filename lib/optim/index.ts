/**
 * What changes parameters: optimisers, schedules of the learning rate, clipping, averages of weights, scaling of the loss.
 *
 * @module optim
 */
export * from './adam.js';
export * from './clip.js';
export * from './loss-scaler.js';
export { type OptimizedParameter, Optimizer, type OptimizerMemory, type OptimizerOptions } from './optimizer.js';
export type { NamedParameter, ParameterGroup, ParameterList } from './parameter-list.js';
export * from './schedule.js';
export * from './sgd.js';
export * from './weight-average.js';
