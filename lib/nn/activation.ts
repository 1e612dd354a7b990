import { relu } from '../ops/elementwise.js';
import { avgPool2d, globalAvgPool } from '../ops/pool.js';
import type { Tensor } from '../tensor.js';
import { Layer } from './module.js';

/** max(x, 0). */
export class ReLU extends Layer {
  override forward(x: Tensor): Tensor {
    return relu(x);
  }
}

/** Mean over windows of size × size pixels, side by side. */
export class AvgPool2d extends Layer {
  constructor(readonly size: number) {
    super();
  }

  override forward(x: Tensor): Tensor {
    return avgPool2d(x, this.size);
  }
}

/** Mean over all pixels: [N, C, H, W] to [N, C]. */
export class GlobalAvgPool2d extends Layer {
  override forward(x: Tensor): Tensor {
    return globalAvgPool(x);
  }
}
