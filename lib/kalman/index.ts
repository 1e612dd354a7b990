/**
 * Kalman normalization as a filter over depth: beliefs, their prediction through ReLU and convolution, and the update by
 * what a batch shows; layers and blocks made of them.
 *
 * @module kalman
 */
export * from '../models/reference-kalman-block.js';
export { Block, type BlockOptions, ResidualBlock } from '../models/residual-block.js';
export * from '../nn/filtered.js';
export * from '../nn/group-kalman-norm.js';
export { KalmanNorm2d, type KalmanNormLayerOptions } from '../nn/kalman-norm.js';
export * from '../nn/reference-kalman-norm.js';
export {
  type AdaptiveKalmanOptions,
  type AdaptiveKalmanResult,
  type AdaptiveState,
  adaptiveKalmanNorm,
  filterRows,
} from '../ops/adaptive-kalman.js';
export * from '../ops/belief.js';
export * from '../ops/kalman.js';
export { type BeliefPadding, padBelief } from '../ops/pad.js';
export {
  type Noise,
  type PredictOptions,
  predict,
  propagate,
  rectifyBelief,
  samplePrior,
  type Transition,
} from '../ops/predict.js';
