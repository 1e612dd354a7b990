/**
 * The operations that users see: what isn't named here is for the library alone.
 */
export {
  type AdaptiveKalmanOptions,
  type AdaptiveKalmanResult,
  type AdaptiveState,
  adaptiveKalmanNorm,
  filterRows,
} from './adaptive-kalman.js';
export { type Affine, type BatchNormEngine, batchNorm, type NormOptions, normalize } from './batch-norm.js';
export * from './belief.js';
export * from './broadcast.js';
export { type Conv2dEpilogue, type Conv2dOptions, conv2d, type Padding } from './conv2d.js';
export { dropout } from './dropout.js';
export {
  abs,
  clamp,
  exp,
  gelu,
  leakyRelu,
  log,
  neg,
  pow,
  reciprocal,
  relu,
  scale,
  sigmoid,
  silu,
  softplus,
  sqrt,
  square,
  tanh,
} from './elementwise.js';
export * from './gather.js';
export * from './group-norm.js';
export { type KalmanNormOptions, type KalmanNormResult, kalmanNorm, kalmanResidual } from './kalman.js';
export { broadcastTo, concat, permute, slice, transpose } from './layout.js';
export * from './linear.js';
export * from './loss.js';
export * from './max-pool.js';
export { reshape, samples } from './memory.js';
export { addWithMoments, type Moments, moments, type RunningAverages, updateRunning } from './moments.js';
export * from './pad.js';
export * from './pool.js';
export { type Noise, samplePrior, type Transition } from './predict.js';
export { argmax, max, mean, type ReduceOptions, sum } from './reduce.js';
export { logSoftmax, softmax } from './softmax.js';
export type { StatisticsGroup } from './sync-moments.js';
export type { TransitionGradient } from './transition-gradient.js';
export * from './weight-standardize.js';
