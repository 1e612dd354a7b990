/**
 * Kalman normalization for Node.js: tensors, autograd, layers, optimisers, data and training on CPUs and NVIDIA GPUs.
 *
 * @packageDocumentation
 */
export { backward, noGrad } from './autograd.js';
export * from './data/index.js';
export {
  cudaProblem,
  Device,
  type DeviceInfo,
  type DeviceOptions,
  devices,
  openDevice,
  type ProfileEntry,
  Program,
  type TensorOptions,
} from './device.js';
export { type ErrorCode, KalmanNormError } from './errors.js';
export { Generator } from './generator.js';
export {
  type InputNormalization,
  type InputSize,
  type ModelDescription,
  normalizeImages,
} from './io/model-description.js';
export * from './io/model-file.js';
export * from './io/safetensors.js';
export * from './models/cifar-resnet.js';
export * from './models/residual-block.js';
export type { DType, Format, MemoryStats, Precision } from './native.js';
export type { NestedNumbers } from './nested.js';
export * from './nn/activation.js';
export * from './nn/batch-norm.js';
export * from './nn/conv2d.js';
export * from './nn/group-norm.js';
export * from './nn/init.js';
export * from './nn/kalman-norm.js';
export * from './nn/linear.js';
export * from './nn/module.js';
export type { NormLayerOptions, RunningNormOptions, RunningStats } from './nn/norm.js';
export * from './nn/spec.js';
export * from './ops/batch-norm.js';
export * from './ops/belief.js';
export { type Conv2dOptions, conv2d, type Padding } from './ops/conv2d.js';
export { add, relu, reshape, samples, scale, sigmoid } from './ops/elementwise.js';
export * from './ops/gather.js';
export * from './ops/group-norm.js';
export * from './ops/kalman.js';
export * from './ops/linear.js';
export * from './ops/loss.js';
export { addWithMoments, type Moments, moments } from './ops/moments.js';
export * from './ops/pool.js';
export * from './ops/transition.js';
export * from './optim/loss-scaler.js';
export type { Parameters } from './optim/parameter-list.js';
export * from './optim/schedule.js';
export * from './optim/sgd.js';
export { HostRandom, manualSeed } from './random.js';
export { scope } from './scope.js';
export { Tensor, type TensorData } from './tensor.js';
export * from './train/trainer.js';
