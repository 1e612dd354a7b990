import { groupNorm } from '../ops/group-norm.js';
import { checkOptions } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { checkGroups, Norm, type NormLayerOptions, normLayerNames, readGroups } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/**
 * Group normalization (Wu and He 2018) of [N, C, H, W] or [N, C]: by the mean and the biased variance of each sample's
 * groups of C / groups channels. The same in training and inference.
 *
 * @example
 * const norm = new GroupNorm(device, 4, 16);
 */
export class GroupNorm extends Norm {
  static readonly type = 'GroupNorm';

  constructor(
    device: Device,
    readonly groups: number,
    channels: number,
    options: NormLayerOptions = {},
  ) {
    checkOptions('GroupNorm', options, normLayerNames);
    super(device, channels, options);
    checkGroups('GroupNorm', groups, channels);
  }

  static plan(spec: SpecReader): ModulePlan {
    const [channels, options] = [spec.size('channels'), Norm.normOptions(spec)];
    const groups = readGroups(spec, channels);
    const values = Norm.normValues(channels, options);
    return { values, build: (device) => new GroupNorm(device, groups, channels, options) };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    return { groups: this.groups };
  }

  override forward(x: Tensor): Tensor {
    return groupNorm(x, this.groups, this.affine, { epsilon: this.epsilon, relu: this.relu });
  }
}

registerModule(GroupNorm);
