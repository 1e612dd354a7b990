import type { Format, Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkShape, checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { differentiable, unary } from './differentiable.js';

/**
 * The same values in row-major order under another shape.
 *
 * @param format default: `activation` for rank 4, else `plain`
 */
export function reshape(x: Tensor, shape: readonly number[], format?: Format): Tensor {
  checkTensors('reshape', { x });
  checkShape('reshape', shape);
  const target = format ?? (shape.length === 4 ? 'activation' : 'plain');
  const from = { shape: x.shape, format: x.format };
  return unary('reshape', x, {
    forward: (tensor) => native.reshape({ tensor, shape, format: target }),
    backward: ({ dy }) => native.reshape({ tensor: dy, ...from }),
  });
}

/**
 * Samples [from, from + count) of x, sharing its memory.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for a range outside
 */
export function samples(x: Tensor, from: number, count: number): Tensor {
  checkTensors('samples', { x });
  const { shape, format, device } = x;
  check(
    Number.isInteger(from) && Number.isInteger(count) && from >= 0 && count >= 1 && from + count <= (shape[0] ?? 0),
    'INVALID_ARGUMENT',
    () => `samples: [${from}, ${from + count}) is not a range of the ${shape[0]} samples`,
  );
  return differentiable({
    name: 'samples',
    inputs: { x },
    forward: (inputs) => ({ part: inputs.x.samples(from, count) }),
    outputs: ['part'],
    absorbs: true,
    backward({ grads, existing }) {
      const dx = native.empty({ device: device.native, shape, dtype: 'float32', format, virtualSamples: 0 });
      if (existing) native.copy({ from: existing, to: dx });
      else native.fill({ tensor: dx, value: 0 });
      within(dx, from, count, (target) => native.addInto({ target, other: grads.part }));
      return { x: dx };
    },
  }).part;
}

/** Calls `body` with some samples of a tensor. @internal */
export function within(tensor: Handle, from: number, count: number, body: (part: Handle) => void): void {
  const part = tensor.samples(from, count);
  body(part);
  part.dispose();
}
