import type { Belief } from '../ops/belief.js';
import { type BothAxes, type MaxPool2dOptions, maxPool2d } from '../ops/max-pool.js';
import { checkOptions } from '../options.js';
import type { Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { isSize, type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { largest } from './transition.js';

/**
 * The largest value of each window of `kernel` pixels; see {@link maxPool2d}.
 *
 * @example
 * const pool = new MaxPool2d(3, { stride: 2, padding: 1 });
 * const y = pool.forward(x); // [N, 64, 112, 112] to [N, 64, 56, 56]
 */
export class MaxPool2d extends Layer {
  static readonly type = 'MaxPool2d';

  constructor(
    /** Size of the window. */
    readonly kernel: BothAxes,
    /** Stride and padding. */
    readonly options: MaxPool2dOptions = {},
  ) {
    super();
    checkOptions('MaxPool2d', options, { stride: true, padding: true });
  }

  static plan(spec: SpecReader): ModulePlan {
    const read = (name: string, fits: (value: unknown) => boolean, fallback?: BothAxes) =>
      spec.value<BothAxes>(
        name,
        (value) => fits(value) || (Array.isArray(value) && value.length === 2 && value.every(fits)),
        'a whole number, or two',
        fallback,
      );
    const kernel = read('kernel', isSize);
    const stride = read('stride', isSize, kernel);
    const padding = read('padding', (value) => value === 0 || isSize(value), 0);
    return { values: 0, build: () => new MaxPool2d(kernel, { stride, padding }) };
  }

  override spec(): ModuleSpec {
    const { stride = this.kernel, padding = 0 } = this.options;
    return { type: MaxPool2d.type, kernel: this.kernel, stride, padding };
  }

  override forward(x: Tensor): Tensor {
    return maxPool2d(x, this.kernel, this.options);
  }

  /** An approximation: the values of a window taken as independent Gaussians, and their largest as one. */
  protected override transition(belief: Belief): Belief {
    const { kernel } = this;
    return largest(belief, typeof kernel === 'number' ? kernel ** 2 : kernel[0] * kernel[1]);
  }
}

registerModule(MaxPool2d);
