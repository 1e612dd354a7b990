import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { unary } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    avgPool2d(args: { x: Handle; size: number }): Handle;
    avgPool2dBackward(args: { dy: Handle; x: Handle; size: number; virtualSamples: number }): Handle;
    globalAvgPool(args: { x: Handle }): Handle;
    globalAvgPoolBackward(args: { dy: Handle; x: Handle; virtualSamples: number }): Handle;
  }
}

/**
 * Mean over windows of size × size pixels, side by side; rows and columns that don't fill a window are dropped.
 *
 * @param x [N, C, H, W]
 */
export function avgPool2d(x: Tensor, size: number): Tensor {
  return unary('avgPool2d', x, {
    forward: (x) => native.avgPool2d({ x, size }),
    save: (x) => ({ x }),
    backward: ({ saved, dy, virtualSamples }) => native.avgPool2dBackward({ ...saved, dy, size, virtualSamples }),
  });
}

/** Mean over all pixels: [N, C, H, W] to [N, C]. */
export function globalAvgPool(x: Tensor): Tensor {
  return unary('globalAvgPool', x, {
    forward: (x) => native.globalAvgPool({ x }),
    save: (x) => ({ x }),
    backward: ({ saved, dy, virtualSamples }) => native.globalAvgPoolBackward({ ...saved, dy, virtualSamples }),
  });
}
