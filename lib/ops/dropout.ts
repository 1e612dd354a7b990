import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors, shown } from '../arguments.js';
import { DeviceRandom } from '../device-random.js';
import { check } from '../errors.js';
import { normalQuantile } from '../normal.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

/**
 * Values that are 0 with probability `rate`, independently, and else divided by 1 - rate.
 *
 * @param rate at least 0 and below 1; met to one in a million, on a device of half precision to one in a thousand
 * @param random where the choice comes from; as with all draws, call its `advance` behind each step
 */
export function dropout(x: Tensor, rate: number, random: DeviceRandom): Tensor {
  checkTensors('dropout', { x });
  check(
    random instanceof DeviceRandom,
    'INVALID_ARGUMENT',
    () => `dropout: random must be a DeviceRandom, got ${shown(random)}`,
  );
  check(
    rate >= 0 && rate < 1,
    'INVALID_ARGUMENT',
    () => `dropout: rate must be a number of at least 0 and below 1, got ${String(rate)}`,
  );
  return differentiable({
    name: 'dropout',
    inputs: { x },
    forward(inputs) {
      const mask = maskLike(x, rate, random);
      return { y: multiplied(mask, inputs.x), mask };
    },
    outputs: ['y'],
    internal: ['mask'],
    save: (_, { mask }) => ({ mask }),
    backward: ({ saved, grads }) => ({ x: multiplied(saved.mask, grads.y) }),
  }).y;
}

const multiplied = (a: Handle, b: Handle) => native.binary({ a, b, kind: 'multiply' });

/**
 * 1 / (1 - rate) with probability 1 - rate, else 0. The device draws max(z, 0) of a standard normal z: of values dropped
 * and kept, those are told apart by a limit that make up half or less.
 */
function maskLike(x: Tensor, rate: number, random: DeviceRandom): Handle {
  const { device, shape, format } = x;
  const filled = (shape: readonly number[], value: number) =>
    native.full({ device: device.native, shape, dtype: 'float32', format: 'plain', value });
  const isImage = shape.length === 4 && format === 'activation';
  const [splits = 1, channels = 1, height = 1, width = 1] = isImage ? shape : [1, x.size];
  const [mean, variance] = [filled([splits * channels], 0), filled([splits * channels], 1)];
  const drawn = native.samplePrior({ mean, variance, splits, height, width, random: random.next() });
  const limit = filled([], normalQuantile(Math.max(rate, 1 - rate)));
  const [a, b] = rate < 0.5 ? [limit, drawn] : [drawn, limit];
  const kept = native.binary({ a, b, kind: 'greater' });
  const scaled = native.scale({ x: kept, factor: 1 / (1 - rate) });
  const mask = isImage ? scaled : native.reshape({ tensor: scaled, shape, format });
  for (const used of [mean, variance, drawn, limit, kept, scaled]) if (used !== mask) used.dispose();
  return mask;
}
