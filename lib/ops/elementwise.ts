import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { differentiable, unary } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    add(args: { a: Handle; b: Handle }): Handle;
    addInto(args: { target: Handle; other: Handle }): void;
    multiply(args: { a: Handle; b: Handle }): Handle;
    scale(args: { x: Handle; factor: number }): Handle;
    /** x times a tensor of one value. */
    scaleBy(args: { x: Handle; factor: Handle }): Handle;
    relu(args: { x: Handle }): Handle;
    reluBackward(args: { y: Handle; dy: Handle }): Handle;
    sigmoid(args: { x: Handle }): Handle;
    sigmoidBackward(args: { y: Handle; dy: Handle }): Handle;
  }
}

/** a + b, for tensors of one shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  return differentiable({
    name: 'add',
    inputs: { a, b },
    forward: (inputs) => ({ sum: native.add(inputs) }),
    outputs: ['sum'],
    backward: ({ grads }) => ({ a: grads.sum, b: grads.sum }),
  }).sum;
}

/** target += x, in place, without a gradient. @internal */
export function addInto(target: Tensor, x: Tensor): void {
  native.addInto({ target: target.handle, other: x.handle });
}

/** x². */
export function square(x: Tensor): Tensor {
  return unary('square', x, {
    forward: (x) => native.multiply({ a: x, b: x }),
    save: (x) => ({ x }),
    backward({ saved: { x }, dy }) {
      const product = native.multiply({ a: x, b: dy });
      const gradient = native.scale({ x: product, factor: 2 });
      product.dispose();
      return gradient;
    },
  });
}

/** x·factor. */
export function scale(x: Tensor, factor: number): Tensor {
  return unary('scale', x, {
    forward: (x) => native.scale({ x, factor }),
    backward: ({ dy }) => native.scale({ x: dy, factor }),
  });
}

/** max(x, 0); NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  return unary('relu', x, {
    forward: (x) => native.relu({ x }),
    save: (_, y) => ({ y }),
    backward: ({ saved, dy }) => native.reluBackward({ ...saved, dy }),
  });
}

/** 1 / (1 + exp(-x)). */
export function sigmoid(x: Tensor): Tensor {
  return unary('sigmoid', x, {
    forward: (x) => native.sigmoid({ x }),
    save: (_, y) => ({ y }),
    backward: ({ saved, dy }) => native.sigmoidBackward({ ...saved, dy }),
  });
}
