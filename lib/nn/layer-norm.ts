import { groupNorm } from '../ops/group-norm.js';
import { checkOptions } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Norm, type NormLayerOptions, normLayerNames } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/** Group normalizations whose number of groups follows from the channels. */
abstract class WholeGroupNorm extends Norm {
  constructor(device: Device, channels: number, options: NormLayerOptions = {}) {
    checkOptions(new.target.name, options, normLayerNames);
    super(device, channels, options);
  }

  protected abstract readonly groups: number;

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    return {};
  }

  override forward(x: Tensor): Tensor {
    return groupNorm(x, this.groups, this.affine, { epsilon: this.epsilon, relu: this.relu });
  }
}

/**
 * Layer normalization (Ba et al. 2016) of [N, C, H, W] or [N, C]: by the mean and the biased variance of all values of a
 * sample, with a scale and a shift per channel. Group normalization with one group.
 *
 * @example
 * const norm = new LayerNorm(device, 64);
 */
export class LayerNorm extends WholeGroupNorm {
  static readonly type = 'LayerNorm';

  static plan(spec: SpecReader): ModulePlan {
    const [channels, options] = [spec.size('channels'), Norm.normOptions(spec)];
    const values = Norm.normValues(channels, options);
    return { values, build: (device) => new LayerNorm(device, channels, options) };
  }

  protected override get groups(): number {
    return 1;
  }
}

/**
 * Instance normalization (Ulyanov et al. 2016) of [N, C, H, W]: by the mean and the biased variance of each channel of
 * each sample. Group normalization with as many groups as channels.
 *
 * @example
 * const norm = new InstanceNorm2d(device, 16);
 */
export class InstanceNorm2d extends WholeGroupNorm {
  static readonly type = 'InstanceNorm2d';

  static plan(spec: SpecReader): ModulePlan {
    const [channels, options] = [spec.size('channels'), Norm.normOptions(spec)];
    const values = Norm.normValues(channels, options);
    return { values, build: (device) => new InstanceNorm2d(device, channels, options) };
  }

  protected override get groups(): number {
    return this.channels;
  }
}

for (const type of [LayerNorm, InstanceNorm2d]) registerModule(type);
