import { check } from '../errors.js';
import { Belief } from '../ops/belief.js';
import { relu } from '../ops/elementwise.js';
import { avgPool2d, globalAvgPool } from '../ops/pool.js';
import type { Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { averaged } from './transition.js';

/** max(x, 0). */
export class ReLU extends Layer {
  static readonly type = 'ReLU';

  static plan(): ModulePlan {
    return { values: 0, build: () => new ReLU() };
  }

  override spec(): ModuleSpec {
    return { type: ReLU.type };
  }

  override forward(x: Tensor): Tensor {
    return relu(x);
  }

  /** The belief of the Gaussian stays, with a note: what is behind it computes with the rectified moments. */
  protected override transition({ mean, variance, splits }: Belief): Belief {
    return new Belief(mean, variance, splits, true);
  }
}

/** Mean over windows of size × size pixels, side by side. */
export class AvgPool2d extends Layer {
  static readonly type = 'AvgPool2d';

  constructor(readonly size: number) {
    super();
    check(
      Number.isInteger(size) && size >= 1,
      'INVALID_ARGUMENT',
      `AvgPool2d: size must be a whole number of at least 1, got ${size}`,
    );
  }

  static plan(spec: SpecReader): ModulePlan {
    const size = spec.size('size');
    return { values: 0, build: () => new AvgPool2d(size) };
  }

  override spec(): ModuleSpec {
    return { type: AvgPool2d.type, size: this.size };
  }

  override forward(x: Tensor): Tensor {
    return avgPool2d(x, this.size);
  }

  protected override transition(belief: Belief): Belief {
    return averaged(belief, this.size ** 2);
  }
}

/** Mean over all pixels: [N, C, H, W] to [N, C]. */
export class GlobalAvgPool2d extends Layer {
  static readonly type = 'GlobalAvgPool2d';

  static plan(): ModulePlan {
    return { values: 0, build: () => new GlobalAvgPool2d() };
  }

  override spec(): ModuleSpec {
    return { type: GlobalAvgPool2d.type };
  }

  override forward(x: Tensor): Tensor {
    return globalAvgPool(x);
  }

  protected override transition(belief: Belief, [, , height = 1, width = 1]: readonly number[]): Belief {
    return averaged(belief, height * width);
  }
}

for (const type of [ReLU, AvgPool2d, GlobalAvgPool2d]) registerModule(type);
