import type { ConvShape } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    conv2d(args: { x: Handle; w: Handle; shape: ConvShape }): Handle;
    conv2dBackwardData(args: { dy: Handle; w: Handle; x: Handle; shape: ConvShape }): Handle;
    conv2dBackwardWeights(args: { x: Handle; dy: Handle; w: Handle; shape: ConvShape }): Handle;
  }
}

/**
 * Padding of a convolution: a number for all sides, [vertical, horizontal], [top, left, bottom, right], or `same` for
 * TensorFlow's rule: output size ceil(input / stride), where an odd total puts the extra row and column at the bottom
 * and the right (so stride 2 on an even size pads 0 before and 1 after).
 */
export type Padding = number | 'same' | readonly [number, number] | readonly [number, number, number, number];

/** Options of {@link conv2d}. */
export interface Conv2dOptions {
  /** Step of the window, for both axes or [vertical, horizontal]; default 1. */
  stride?: number | readonly [number, number];
  /** Default 0. */
  padding?: Padding;
}

/** Before and after along one axis, by TensorFlow's SAME rule. */
function same(size: number, kernel: number, stride: number): [number, number] {
  const total = Math.max((Math.ceil(size / stride) - 1) * stride + kernel - size, 0);
  return [Math.floor(total / 2), total - Math.floor(total / 2)];
}

/** Stride and padding as the device wants them. @internal */
export function convShape(x: readonly number[], w: readonly number[], options: Conv2dOptions): ConvShape {
  const { stride = 1, padding = 0 } = options;
  const [strideH, strideW] = typeof stride === 'number' ? [stride, stride] : stride;
  for (const step of [strideH, strideW]) {
    check(
      Number.isInteger(step) && step >= 1,
      'INVALID_ARGUMENT',
      `conv2d: stride must be a whole number of at least 1, got ${stride}`,
    );
  }
  if (padding === 'same') {
    const [top, bottom] = same(x[2] as number, w[2] as number, strideH);
    const [left, right] = same(x[3] as number, w[3] as number, strideW);
    return [strideH, strideW, top, left, bottom, right];
  }
  const sides = typeof padding === 'number' ? [padding, padding] : padding;
  check(
    (sides.length === 2 || sides.length === 4) && sides.every((side) => Number.isInteger(side) && side >= 0),
    'INVALID_ARGUMENT',
    `conv2d: padding must be "same", a whole number, or two or four of them, got ${String(padding)}`,
  );
  const [top, left, bottom = top, right = left] = sides as readonly number[];
  return [strideH, strideW, top as number, left as number, bottom as number, right as number];
}

/**
 * Cross-correlation, as deep learning calls convolution.
 *
 * @param x [N, in, H, W]; images may be row-major
 * @param weight filter [out, in, height, width]
 * @returns [N, out, H', W'] with H' = floor((H + top + bottom - height) / stride) + 1
 */
export function conv2d(x: Tensor, weight: Tensor, options: Conv2dOptions = {}): Tensor {
  const shape = convShape(x.shape, weight.shape, options);
  return differentiable({
    name: 'conv2d',
    inputs: { x, w: weight },
    forward: (inputs) => ({ y: native.conv2d({ ...inputs, shape }) }),
    outputs: ['y'],
    save: (inputs) => inputs,
    backward: ({ saved, grads, wanted }) => ({
      x: wanted('x') ? native.conv2dBackwardData({ ...saved, dy: grads.y, shape }) : null,
      w: wanted('w') ? native.conv2dBackwardWeights({ ...saved, dy: grads.y, shape }) : null,
    }),
  }).y;
}
