import { checkDevice, checkObjects } from '../arguments.js';
import { Conv2d, type Conv2dLayerOptions, type WeightStandardization } from '../nn/conv2d.js';
import type { Filtered } from '../nn/filtered.js';
import { type Layer, Module } from '../nn/module.js';
import { RunningNorm } from '../nn/norm.js';
import { Temporaries } from '../nn/temporaries.js';
import { addBeliefs, type Belief } from '../ops/belief.js';
import { addWithMoments } from '../ops/moments.js';
import { padBelief, padChannels } from '../ops/pad.js';
import { avgPool2d } from '../ops/pool.js';
import { rectifyBelief } from '../ops/predict.js';
import type { TransitionGradient } from '../ops/transition-gradient.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { HostRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';

/** Options common to the blocks. */
export interface BlockOptions<Norm> {
  inChannels: number;
  /** Doubles the channels and halves height and width. */
  widens: boolean;
  /** The network's first block: its input is normalized already. */
  first: boolean;
  /** With its activation, such as ReLU; null in the first block. */
  norm1: Norm | null;
  /** With its activation. */
  norm2: Norm;
  random: HostRandom;
  /** Of the convolutions' weights; default false. */
  weightStandardization?: WeightStandardization;
  /** Of the convolutions; default `closed-form`. */
  transitionGradient?: TransitionGradient;
}

/** Of what all blocks have. @internal */
export const blockNames: OptionNames<Omit<BlockOptions<unknown>, 'first' | 'norm1' | 'norm2'>> = {
  inChannels: true,
  widens: true,
  random: true,
  weightStandardization: true,
  transitionGradient: true,
};

/** @internal */
export const normalizedBlockNames: OptionNames<BlockOptions<unknown>> = {
  ...blockNames,
  first: true,
  norm1: true,
  norm2: true,
};

/** Convolutions and shortcut, which all blocks share. @internal */
export abstract class Block extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  /** @internal */
  readonly inChannels: number;
  /** @internal */
  readonly widens: boolean;

  constructor(device: Device, options: Omit<BlockOptions<unknown>, 'first' | 'norm1' | 'norm2'>) {
    super();
    checkDevice(new.target.name, device);
    checkObjects(new.target.name, { options });
    const { inChannels, widens, random, weightStandardization, transitionGradient } = options;
    const outChannels = widens ? 2 * inChannels : inChannels;
    const common: Conv2dLayerOptions = {
      padding: 'same',
      random,
      ...(weightStandardization !== undefined && { weightStandardization }),
      ...(transitionGradient && { transitionGradient }),
    };
    this.inChannels = inChannels;
    this.widens = widens;
    this.conv1 = new Conv2d(device, inChannels, outChannels, 3, { stride: widens ? 2 : 1, ...common });
    this.conv2 = new Conv2d(device, outChannels, outChannels, 3, common);
  }

  /** The shortcut of a widening block: averages 2 × 2 pixels, adds C/2 channels of zeros on either side. */
  protected shortcut(x: Tensor): Tensor {
    if (!this.widens) return x;
    const pooled = avgPool2d(x, 2);
    const padded = padChannels(pooled, this.inChannels / 2, this.inChannels / 2);
    pooled.dispose();
    return padded;
  }
}

/**
 * Pre-activation residual block: shortcut(x) + conv2(norm2(conv1(norm1(x)))). What is believed of the samples goes through
 * the convolutions, and adds up along the shortcut as the samples do.
 */
export class ResidualBlock extends Block {
  readonly norm1: Layer | null;
  readonly norm2: Layer;

  constructor(device: Device, options: BlockOptions<Layer>) {
    checkOptions('ResidualBlock', options, normalizedBlockNames);
    super(device, options);
    this.norm1 = options.norm1;
    this.norm2 = options.norm2;
  }

  /**
   * @param given [N, C, H, W], and in the training of a Kalman network its belief
   * @returns the block's output and its prior
   */
  filter(given: Filtered): Filtered {
    const temporaries = new Temporaries();
    const use = (filtered: Filtered): Filtered => {
      for (const part of [filtered.x, filtered.belief, filtered.input ?? null]) temporaries.use(part);
      return filtered;
    };
    try {
      const start = this.norm1 ? use(this.norm1.filter(given)) : given;
      const middle = use(this.norm2.filter(use(this.conv1.filter(start))));
      const branch = use(this.conv2.filter(middle));
      const shortcut = this.shortcut(given.x);
      if (shortcut !== given.x) temporaries.use(shortcut);
      // The normalization behind the block has the splits of this one's.
      const splits = this.training && this.norm2 instanceof RunningNorm ? this.norm2.splits : 0;
      const x = addWithMoments(shortcut, branch.x, splits, { inPlace: true });
      const known = this.norm1 ? (start.input ?? null) : given.belief;
      return { x, belief: known && branch.belief && this.sumOf(known, branch.belief, temporaries) };
    } finally {
      temporaries.dispose();
    }
  }

  private sumOf(shortcut: Belief, branch: Belief, temporaries: Temporaries): Belief {
    const pad = this.inChannels / 2;
    const moments = rectifyBelief(shortcut);
    if (moments !== shortcut) temporaries.use(moments);
    return addBeliefs(this.widens ? temporaries.use(padBelief(moments, pad, pad)) : moments, branch);
  }
}
