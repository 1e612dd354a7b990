import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { linear } from '../ops/linear.js';
import { checkOptions, type OptionNames } from '../options.js';
import { type HostRandom, initialRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import { truncatedNormal } from './init.js';
import { Layer } from './module.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { throughLinear } from './transition.js';

/** Options of {@link Linear}. */
export interface LinearOptions {
  /** Default true; starts at 0. */
  bias?: boolean;
  /** Where initial values come from; default: the thread's stream, see {@link manualSeed}. */
  random?: HostRandom;
  /** Standard deviation before truncation; default sqrt(1.3·2 / in), as in the reference code. */
  std?: number;
}

const optionNames: OptionNames<LinearOptions> = { bias: true, random: true, std: true };

/**
 * x·W + b.
 *
 * `weight`: [in, out], `bias`: [out]
 */
export class Linear extends Layer {
  static readonly type = 'Linear';
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(device: Device, inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    checkDevice('Linear', device);
    checkOptions('Linear', options, optionNames);
    for (const [name, value] of Object.entries({ inFeatures, outFeatures })) {
      check(
        Number.isInteger(value) && value >= 1,
        'INVALID_ARGUMENT',
        `Linear: ${name} must be a whole number of at least 1, got ${value}`,
      );
    }
    const { bias = true, random = initialRandom(), std = Math.sqrt((1.3 * 2) / inFeatures) } = options;
    const values = truncatedNormal(random, inFeatures * outFeatures, std);
    this.weight = this.parameter(() => device.tensor(values, [inFeatures, outFeatures]));
    this.bias = bias ? this.parameter(() => device.zeros([outFeatures])) : null;
  }

  static plan(spec: SpecReader): ModulePlan {
    const [inFeatures, outFeatures] = [spec.size('inFeatures'), spec.size('outFeatures')];
    const bias = spec.flag('bias', true);
    return {
      values: (inFeatures + (bias ? 1 : 0)) * outFeatures,
      build: (device) => new Linear(device, inFeatures, outFeatures, { bias }),
    };
  }

  override spec(): ModuleSpec {
    const [inFeatures = 1, outFeatures = 1] = this.weight.shape;
    return { type: Linear.type, inFeatures, outFeatures, bias: this.bias !== null };
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  protected override transition(belief: Belief): Belief {
    return throughLinear(belief, this.weight, this.bias);
  }
}

registerModule(Linear);
