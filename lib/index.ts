/**
 * Kalman normalization for Node.js: tensors, autograd, layers, optimisers, data and training on CPUs and NVIDIA GPUs.
 * What belongs together is there by its name, and as a part of the namespaces `nn`, `optim`, `data`, `kalman` and `train`.
 *
 * @packageDocumentation
 * @document ../docs/guide.md
 * @document ../docs/architecture.md
 * @document ../docs/filter.md
 * @document ../docs/cuda.md
 * @document ../docs/long-runs.md
 * @document ../docs/distributed.md
 * @document ../docs/imagenet.md
 */
export type { DType, Format, MemoryStats, Precision, TensorData } from './addon/contract.js';
export { type BackwardOptions, backward, type GradientPortions, noGrad } from './autograd.js';
export * from './data/index.js';
export * as data from './data/index.js';
export { cudaProblem, type DeviceInfo, type DeviceOptions, devices, openDevice } from './device.js';
export { DeviceRandom } from './device-random.js';
export * from './distributed/index.js';
export { type ErrorCode, KalmanNormError } from './errors.js';
export * from './export/index.js';
export { CheckpointFolder, type LoadedCheckpoint, type Stateful } from './io/checkpoint.js';
export {
  type InputNormalization,
  type InputSize,
  type ModelDescription,
  normalizeImages,
} from './io/model-description.js';
export { type ModelInfo, openModel, type SaveModelOptions, saveModel } from './io/model-file.js';
export * from './io/safetensors.js';
export * as kalman from './kalman/index.js';
export * from './models/cifar-resnet.js';
export type { NormSpec } from './models/norm-spec.js';
export * from './models/normalizer-free-block.js';
export * from './models/reference-kalman-block.js';
export { Block, type BlockOptions, ResidualBlock } from './models/residual-block.js';
export { ResNet, type ResNetOptions } from './models/resnet.js';
export { loadTorchvisionWeights } from './models/torchvision.js';
export type { NestedNumbers } from './nested.js';
export * from './nn/index.js';
export * as nn from './nn/index.js';
export * from './ops/index.js';
export * from './optim/index.js';
export * as optim from './optim/index.js';
export { Program } from './program.js';
export { HostRandom, manualSeed } from './random.js';
export { scope } from './scope.js';
export * from './serve/index.js';
export type { StateValues } from './state.js';
export { Device, type ProfileEntry, Tensor, type TensorOptions } from './tensor.js';
export * from './train/index.js';
export * as train from './train/index.js';
