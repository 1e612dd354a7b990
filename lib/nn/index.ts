/**
 * Layers: modules with parameters, state and modes.
 *
 * @module nn
 */
export * from './activated-norm.js';
export * from './activation.js';
export * from './batch-channel-norm.js';
export * from './batch-norm.js';
export * from './batch-renorm.js';
export * from './concat.js';
export * from './conv2d.js';
export * from './dropout.js';
export * from './filter-step.js';
export { disposeFiltered, type Filtered } from './filtered.js';
export * from './flatten.js';
export * from './group-kalman-norm.js';
export * from './group-norm.js';
export * from './init.js';
export { KalmanNorm2d, type KalmanNormLayerOptions } from './kalman-norm.js';
export * from './layer-norm.js';
export * from './linear.js';
export * from './max-pool.js';
export * from './module.js';
export * from './moving-average-norm.js';
export type { NormLayerOptions, RunningNormOptions, RunningStats } from './norm.js';
export * from './pointwise.js';
export * from './reference-kalman-norm.js';
export * from './residual.js';
export * from './scaled-affine.js';
export * from './sequential.js';
export * from './spec.js';
export * from './sync-batch-norm.js';
export * from './unknown.js';
