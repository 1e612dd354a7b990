import type { ConvShape, Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    conv2d(args: { x: Handle; w: Handle; bias?: Maybe; shape: ConvShape; relu: boolean }): Handle;
    conv2dEpilogueBackward(args: { y: Handle; dy: Handle }): { dz: Handle; dbias: Handle };
    conv2dBackwardData(args: { dy: Handle; w: Handle; x: Handle; shape: ConvShape }): Handle;
    /** `rounded`: stored in the type of activations, which `addEach` and `averageObserved` read. Default false. */
    conv2dBackwardWeights(args: { x: Handle; dy: Handle; w: Handle; shape: ConvShape; rounded?: boolean }): Handle;
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
  /** Distance of the filter's taps in pixels, for both axes or [vertical, horizontal]; default 1. */
  dilation?: number | readonly [number, number];
  /**
   * Into how many equal groups channels and outputs are cut, each output seeing its own group alone: as many as there
   * are channels is called a depthwise convolution. Default 1.
   */
  groups?: number;
}

/** @internal */
export const conv2dNames: OptionNames<Conv2dOptions> = { stride: true, padding: true, dilation: true, groups: true };

/** What {@link conv2d} does to its results in the same pass. */
export interface Conv2dEpilogue {
  /** [out], is added; default null. */
  bias?: Tensor | null;
  /** ReLU of the sum; default false. */
  relu?: boolean;
}

const epilogueNames: OptionNames<Conv2dEpilogue> = { bias: true, relu: true };

/** Before and after along one axis, by TensorFlow's SAME rule. */
function same(size: number, kernel: number, stride: number): [number, number] {
  const total = Math.max((Math.ceil(size / stride) - 1) * stride + kernel - size, 0);
  return [Math.floor(total / 2), total - Math.floor(total / 2)];
}

/** [vertical, horizontal] of an option. @internal */
export function bothSteps(name: string, value: number | readonly [number, number]): readonly [number, number] {
  const both = typeof value === 'number' ? ([value, value] as const) : value;
  check(
    Array.isArray(both) && both.length === 2 && both.every((step) => Number.isInteger(step) && step >= 1),
    'INVALID_ARGUMENT',
    () => `conv2d: ${name} must be a whole number of at least 1, or two, got ${String(value)}`,
  );
  return both as readonly [number, number];
}

/** The options as the device wants them. @internal */
export function convShape(x: readonly number[], w: readonly number[], options: Conv2dOptions): ConvShape {
  const { dilation = 1, groups = 1 } = options;
  const steps = bothSteps('dilation', dilation);
  check(
    Number.isInteger(groups) && groups >= 1,
    'INVALID_ARGUMENT',
    () => `conv2d: groups must be a whole number of at least 1, got ${String(groups)}`,
  );
  const [spanH, spanW] = steps.map((step, axis) => ((w[axis + 2] as number) - 1) * step + 1) as [number, number];
  const windows = windowShape(x, spanH, spanW, options);
  return groups === 1 && steps.every((step) => step === 1) ? windows : [...windows, ...steps, groups];
}

type WindowShape = readonly [number, number, number, number, number, number];

/** Stride and padding of windows of a height and width. */
function windowShape(x: readonly number[], height: number, width: number, options: Conv2dOptions): WindowShape {
  const { stride = 1, padding = 0 } = options;
  const [strideH, strideW] = bothSteps('stride', stride);
  if (padding === 'same') {
    const [top, bottom] = same(x[2] as number, height, strideH);
    const [left, right] = same(x[3] as number, width, strideW);
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

/** Sums over samples and pixels, [C]. */
function channelSums(x: Handle): Handle {
  const [, channels = 0] = x.shape;
  const column = native.reduce({ x, shape: [channels, 1, 1], format: 'plain', kind: 'sum' });
  const sums = native.reshape({ tensor: column, shape: [channels], format: 'plain' });
  column.dispose();
  return sums;
}

/**
 * Cross-correlation, as deep learning calls convolution.
 *
 * @param x [N, in, H, W]; images may be row-major
 * @param weight filter [out, in / groups, height, width]
 * @param epilogue bias and ReLU, which cost no pass of their own where the device's kernels can do without
 * @returns [N, out, H', W'] with H' = floor((H + top + bottom - ((height - 1)·dilation + 1)) / stride) + 1
 * @throws KalmanNormError `INVALID_ARGUMENT` for options that aren't whole numbers, or groups that don't divide the
 *   outputs; `SHAPE_MISMATCH` for other channels than the filter's, and a filter larger than the padded image
 */
export function conv2d(x: Tensor, weight: Tensor, options: Conv2dOptions = {}, epilogue: Conv2dEpilogue = {}): Tensor {
  checkTensors('conv2d', { x, weight });
  checkOptions('conv2d', options, conv2dNames);
  checkOptions('conv2d: epilogue', epilogue, epilogueNames);
  const { bias = null, relu = false } = epilogue;
  const shape = convShape(x.shape, weight.shape, options);
  return differentiable({
    name: 'conv2d',
    inputs: { x, w: weight, bias },
    forward: (inputs) => ({ y: native.conv2d({ ...inputs, shape, relu }) }),
    outputs: ['y'],
    save: ({ x, w }, { y }) => ({ x, w, y: relu ? y : null }),
    backward({ saved: { x, w, y }, grads, wanted, toLeaf }) {
      const behind = y ? native.conv2dEpilogueBackward({ y, dy: grads.y }) : null;
      const dy = behind?.dz ?? grads.y;
      const gradients = {
        x: wanted('x') ? native.conv2dBackwardData({ dy, w, x, shape }) : null,
        w: wanted('w') ? native.conv2dBackwardWeights({ x, dy, w, shape, rounded: toLeaf('w') }) : null,
        bias: wanted('bias') ? (behind?.dbias.share() ?? channelSums(dy)) : null,
      };
      behind?.dz.dispose();
      behind?.dbias.dispose();
      return gradients;
    },
  }).y;
}
