import { record } from '../autograd.js';
import { check } from '../errors.js';
import { type Format, type Handle, native } from '../native.js';
import { Tensor } from '../tensor.js';

/** a + b, for tensors of one shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  const out = new Tensor(a.device, native.add(a.handle, b.handle));
  record([a, b], () => ({
    name: 'add',
    inputs: [a, b],
    outputs: [out],
    saved: [],
    backward: ({ grads: [dy] }) => [dy?.share() ?? null, dy?.share() ?? null],
  }));
  return out;
}

/** x·factor. */
export function scale(x: Tensor, factor: number): Tensor {
  const out = new Tensor(x.device, native.scale(x.handle, factor));
  record([x], () => ({
    name: 'scale',
    inputs: [x],
    outputs: [out],
    saved: [],
    backward: ({ grads: [dy] }) => [dy ? native.scale(dy, factor) : null],
  }));
  return out;
}

/** max(x, 0); NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  const y = new Tensor(x.device, native.relu(x.handle));
  record([x], () => {
    const output = y.handle.share();
    return {
      name: 'relu',
      inputs: [x],
      outputs: [y],
      saved: [output],
      backward: ({ grads: [dy] }) => [dy ? native.reluBackward(output, dy) : null],
    };
  });
  return y;
}

/** 1 / (1 + exp(-x)). */
export function sigmoid(x: Tensor): Tensor {
  const y = new Tensor(x.device, native.sigmoid(x.handle));
  record([x], () => {
    const output = y.handle.share();
    return {
      name: 'sigmoid',
      inputs: [x],
      outputs: [y],
      saved: [output],
      backward: ({ grads: [dy] }) => [dy ? native.sigmoidBackward(output, dy) : null],
    };
  });
  return y;
}

/**
 * The same values in row-major order under another shape.
 *
 * @param format default: `activation` for rank 4, else `plain`
 */
export function reshape(x: Tensor, shape: readonly number[], format?: Format): Tensor {
  const target = format ?? (shape.length === 4 ? 'activation' : 'plain');
  const from = { shape: x.shape, format: x.format };
  const y = new Tensor(x.device, native.reshape(x.handle, shape, target));
  record([x], () => ({
    name: 'reshape',
    inputs: [x],
    outputs: [y],
    saved: [],
    backward: ({ grads: [dy] }) => [dy ? native.reshape(dy, from.shape, from.format) : null],
  }));
  return y;
}

/**
 * Samples [from, from + count) of x, sharing its memory.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for a range outside
 */
export function samples(x: Tensor, from: number, count: number): Tensor {
  const { shape, format } = x;
  check(
    Number.isInteger(from) && Number.isInteger(count) && from >= 0 && count >= 1 && from + count <= (shape[0] ?? 0),
    'INVALID_ARGUMENT',
    () => `samples: [${from}, ${from + count}) is not a range of the ${shape[0]} samples`,
  );
  const y = new Tensor(x.device, x.handle.samples(from, count));
  record([x], () => ({
    name: 'samples',
    inputs: [x],
    outputs: [y],
    saved: [],
    absorbs: [0],
    backward({ grads: [dy], existing: [elsewhere] }) {
      if (!dy) return [elsewhere?.share() ?? null];
      const dx = native.empty(x.device.native, shape, 'float32', format, 0);
      if (elsewhere) native.copy(elsewhere, dx);
      else native.fill(dx, 0);
      within(dx, from, count, (part) => native.addInto(part, dy));
      return [dx];
    },
  }));
  return y;
}

/** Calls `body` with some samples of a tensor. @internal */
export function within(tensor: Handle, from: number, count: number, body: (part: Handle) => void): void {
  const part = tensor.samples(from, count);
  body(part);
  part.dispose();
}
