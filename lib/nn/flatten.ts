import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { reshape } from '../ops/memory.js';
import { avgPool2d, globalAvgPool } from '../ops/pool.js';
import { valuesOf } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { averaged, repeated } from './transition.js';

/**
 * [N, C, H, W] to [N, C·H·W], row-major. Every feature is believed to be as its channel is.
 *
 * @example
 * const net = new Sequential(conv, new ReLU(), new Flatten(), new Linear(device, 64 * 8 * 8, 10));
 */
export class Flatten extends Layer {
  static readonly type = 'Flatten';

  static plan(): ModulePlan {
    return { values: 0, build: () => new Flatten() };
  }

  override spec(): ModuleSpec {
    return { type: Flatten.type };
  }

  override forward(x: Tensor): Tensor {
    const [samples = 1] = x.shape;
    return reshape(x, [samples, x.size / samples]);
  }

  protected override transition(belief: Belief, [, , ...pixels]: readonly number[]): Belief {
    return repeated(belief, valuesOf(pixels));
  }
}

/**
 * The samples as they are, such as for an option of a network that is switched off.
 *
 * @example
 * const norm = normalized ? new BatchNorm2d(device, 16) : new Identity();
 */
export class Identity extends Layer {
  static readonly type = 'Identity';

  static plan(): ModulePlan {
    return { values: 0, build: () => new Identity() };
  }

  override spec(): ModuleSpec {
    return { type: Identity.type };
  }

  override forward(x: Tensor): Tensor {
    return x;
  }

  protected override transition(belief: Belief): Belief {
    return belief;
  }
}

/**
 * Means over equal square windows, so many that `size` × `size` are left: [N, C, H, W] to [N, C, size, size].
 *
 * @example
 * const pool = new AdaptiveAvgPool2d(1); // [N, 64, 7, 9] to [N, 64, 1, 1]
 */
export class AdaptiveAvgPool2d extends Layer {
  static readonly type = 'AdaptiveAvgPool2d';

  /** @param size of the result, default 1; above 1 images must be square, and `size` must divide theirs */
  constructor(readonly size = 1) {
    super();
    check(
      Number.isInteger(size) && size >= 1,
      'INVALID_ARGUMENT',
      () => `AdaptiveAvgPool2d: size must be a whole number of at least 1, got ${String(size)}`,
    );
  }

  static plan(spec: SpecReader): ModulePlan {
    const size = spec.size('size', 1);
    return { values: 0, build: () => new AdaptiveAvgPool2d(size) };
  }

  override spec(): ModuleSpec {
    return { type: AdaptiveAvgPool2d.type, size: this.size };
  }

  override forward(x: Tensor): Tensor {
    const [samples = 1, channels = 1] = x.shape;
    if (this.size > 1) return avgPool2d(x, this.windowOf(x.shape));
    const means = globalAvgPool(x);
    const y = reshape(means, [samples, channels, 1, 1]);
    means.dispose();
    return y;
  }

  protected override transition(belief: Belief, shape: readonly number[]): Belief {
    const [, , height = 1, width = 1] = shape;
    return averaged(belief, this.size > 1 ? this.windowOf(shape) ** 2 : height * width);
  }

  private windowOf(shape: readonly number[]): number {
    const [, , height = 1, width = 1] = shape;
    check(
      height === width && height % this.size === 0,
      'SHAPE_MISMATCH',
      () => `AdaptiveAvgPool2d: expected square images of a multiple of ${this.size} pixels, got [${shape.join(', ')}]`,
    );
    return height / this.size;
  }
}

for (const type of [Flatten, Identity, AdaptiveAvgPool2d]) registerModule(type);
