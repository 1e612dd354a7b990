import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { unary } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** `window`: [height, width]. */
    maxPool2d(args: { x: Handle; window: readonly number[]; shape: ConvShape }): Handle;
    maxPool2dBackward(args: {
      x: Handle;
      dy: Handle;
      window: readonly number[];
      shape: ConvShape;
      virtualSamples: number;
    }): Handle;
  }
}

/** One number for both axes, or [vertical, horizontal]. */
export type BothAxes = number | readonly [number, number];

/** Options of {@link maxPool2d}. */
export interface MaxPool2dOptions {
  /** Step of the window; default: its size. */
  stride?: BothAxes;
  /** Pixels on each side that windows may reach beyond the image, fewer than the window has; default 0. */
  padding?: BothAxes;
}

const optionNames: OptionNames<MaxPool2dOptions> = { stride: true, padding: true };

/** A pair of whole numbers. */
function pair(name: string, value: BothAxes, least: number): [vertical: number, horizontal: number] {
  const both = typeof value === 'number' ? [value, value] : value;
  check(
    Array.isArray(both) && both.length === 2 && both.every((size) => Number.isInteger(size) && size >= least),
    'INVALID_ARGUMENT',
    () => `maxPool2d: ${name} must be a whole number of at least ${least}, or two, got ${String(value)}`,
  );
  return both as [number, number];
}

/**
 * The largest value of each window; padding is no value, and incomplete windows are dropped. NaN where a window holds one.
 * The gradient goes to the first of a window's largest values, in row-major order.
 *
 * @param x [N, C, H, W]
 * @param kernel size of the window in pixels
 * @returns [N, C, H', W'] with H' = floor((H + 2·padding - kernel) / stride) + 1
 * @throws KalmanNormError `INVALID_ARGUMENT` for sizes that aren't whole numbers, and padding as large as the window;
 *   `SHAPE_MISMATCH` for a window that is larger than the padded image
 */
export function maxPool2d(x: Tensor, kernel: BothAxes, options: MaxPool2dOptions = {}): Tensor {
  checkOptions('maxPool2d', options, optionNames);
  const window = pair('kernel', kernel, 1);
  const stride = pair('stride', options.stride ?? window, 1);
  const padding = pair('padding', options.padding ?? 0, 0);
  const shape = [...stride, ...padding, ...padding] as const;
  return unary('maxPool2d', x, {
    forward: (x) => native.maxPool2d({ x, window, shape }),
    save: (x) => ({ x }),
    backward: ({ saved, dy, virtualSamples }) =>
      native.maxPool2dBackward({ ...saved, dy, window, shape, virtualSamples }),
  });
}
