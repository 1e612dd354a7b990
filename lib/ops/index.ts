/**
 * The operations that users see: what isn't named here is for the library alone.
 */
export * from './adaptive-kalman.js';
export * from './batch-norm.js';
export * from './belief.js';
export { type Conv2dOptions, conv2d, type Padding } from './conv2d.js';
export { add, relu, scale, sigmoid, square } from './elementwise.js';
export * from './gather.js';
export * from './group-norm.js';
export { type KalmanNormOptions, type KalmanNormResult, kalmanNorm, kalmanResidual } from './kalman.js';
export * from './linear.js';
export * from './loss.js';
export * from './max-pool.js';
export { reshape, samples } from './memory.js';
export { addWithMoments, type Moments, moments, updateRunning } from './moments.js';
export * from './pad.js';
export * from './pool.js';
export { type Noise, samplePrior, type Transition } from './predict.js';
export * from './weight-standardize.js';
