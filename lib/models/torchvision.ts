import { shown } from '../arguments.js';
import { check } from '../errors.js';
import { readSafetensors } from '../io/safetensors.js';
import type { Conv2d } from '../nn/conv2d.js';
import type { Linear } from '../nn/linear.js';
import type { Layer } from '../nn/module.js';
import { MovingAverageBatchNorm2d } from '../nn/moving-average-norm.js';
import { RunningNorm } from '../nn/norm.js';
import type { Residual } from '../nn/residual.js';
import type { Sequential } from '../nn/sequential.js';
import { type StateValues, writeState } from '../state.js';
import type { Tensor } from '../tensor.js';
import { ResNet } from './resnet.js';

/**
 * Loads weights and running averages by torchvision's names (`layer1.0.conv1.weight`, `layer1.0.downsample.1.bias`, ...)
 * into a network with `batch`, `sync-batch`, `batch-renorm` or `kalman` normalization; a Kalman filter's own state stays as it is.
 *
 * `fc.weight` [classes, features] is transposed, `num_batches_tracked` is passed over. Everything is checked first.
 *
 * torchvision's weights expect images in [0, 1] less [0.485, 0.456, 0.406], divided by [0.229, 0.224, 0.225].
 *
 * @param path a safetensors file of float32, or of 16-bit floats
 * @throws KalmanNormError `INVALID_ARGUMENT` for a network without running averages; `STATE_MISMATCH`, listing what is
 *   missing, unexpected or misshapen; `FILE_NOT_FOUND` or `FILE_CORRUPT`. Nothing is loaded then
 *
 * @example
 * // In Python: safetensors.torch.save_file(torchvision.models.resnet50(weights='DEFAULT').state_dict(), path)
 * const net = new ResNet(device, { depth: 50, norm: { type: 'batch' } });
 * await loadTorchvisionWeights(path, net);
 */
export async function loadTorchvisionWeights(path: string, resnet: ResNet): Promise<void> {
  check(
    resnet instanceof ResNet,
    'INVALID_ARGUMENT',
    () => `loadTorchvisionWeights: resnet must be a ResNet, got ${shown(resnet)}`,
  );
  const own = new Map(named(resnet));
  const { tensors } = await readSafetensors(path);
  const state: StateValues = new Map();
  for (const [name, { shape, data }] of tensors) {
    if (name.endsWith('.num_batches_tracked')) continue;
    const isMatrix = name === 'fc.weight' && shape.length === 2 && data instanceof Float32Array;
    const value = isMatrix ? transposed(data, shape as [number, number]) : { shape, data };
    // Of a type that no tensor has, it is refused as such.
    state.set(name, value as typeof value & { data: Float32Array });
  }
  writeState(own, state, 'ResNet', 'loadTorchvisionWeights');
}

/** Tensors by torchvision's names. */
function* named({ net, stages }: ResNet): Generator<[string, Tensor]> {
  const layers = net.layers.values();
  const next = <T extends Layer>() => layers.next().value as unknown as T;
  yield ['conv1.weight', next<Conv2d>().weight];
  yield* namedNorm('bn1', next());
  next(); // max pooling
  for (const [stage, blocks] of stages.entries()) {
    for (let block = 0; block < blocks; block++) {
      const [{ body, shortcut }] = next<Sequential>().layers as [Residual];
      const prefix = `layer${stage + 1}.${block}`;
      yield* namedPairs(body, (i) => [`${prefix}.conv${i + 1}`, `${prefix}.bn${i + 1}`]);
      if (shortcut) yield* namedPairs(shortcut, () => [`${prefix}.downsample.0`, `${prefix}.downsample.1`]);
    }
  }
  next(); // average pooling
  const { weight, bias } = next<Linear>();
  yield ['fc.weight', weight];
  yield ['fc.bias', bias as Tensor];
}

/** Of convolutions, each with the normalization behind it. */
function* namedPairs(branch: Layer, names: (pair: number) => [string, string]): Generator<[string, Tensor]> {
  const { layers } = branch as Sequential;
  for (let i = 0; i < layers.length; i += 2) {
    const [conv, norm] = names(i / 2);
    yield [`${conv}.weight`, (layers[i] as Conv2d).weight];
    yield* namedNorm(norm, layers[i + 1] as Layer);
  }
}

function* namedNorm(name: string, norm: Layer): Generator<[string, Tensor]> {
  // Batch-channel normalization has running averages, and a second scale and shift; MABN subtracts nothing.
  check(
    norm instanceof RunningNorm && !('batchGamma' in norm || norm instanceof MovingAverageBatchNorm2d),
    'INVALID_ARGUMENT',
    `loadTorchvisionWeights: resnet must have batch, sync-batch, batch-renorm or kalman normalization, got ${norm.constructor.name}`,
  );
  yield [`${name}.weight`, norm.gamma as Tensor];
  yield [`${name}.bias`, norm.beta as Tensor];
  yield [`${name}.running_mean`, norm.runningMean];
  yield [`${name}.running_var`, norm.runningVariance];
}

function transposed(data: Float32Array, [rows, columns]: [number, number]) {
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = data[row * columns + column] as number;
    }
  }
  return { shape: [columns, rows], data: result };
}
