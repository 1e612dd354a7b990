import { check } from '../errors.js';
import type { Filtered } from '../nn/filtered.js';
import { ScaledAffine2d } from '../nn/scaled-affine.js';
import { add } from '../ops/broadcast.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Block, type BlockOptions, blockNames } from './residual-block.js';

/** Options of {@link NormalizerFreeBlock}. */
export interface NormalizerFreeBlockOptions extends Omit<BlockOptions<never>, 'norm1' | 'norm2' | 'first'> {
  /** What the variance of the block's input is expected to be. */
  variance: number;
  /** α, the factor on the branch; default 0.2. */
  alpha?: number;
}

const optionNames: OptionNames<NormalizerFreeBlockOptions> = { ...blockNames, variance: true, alpha: true };

/**
 * Residual block of a normalizer-free network (Brock et al. 2021, Characterizing signal propagation): h + α·f(h / sqrt(v)),
 * where v is what h's variance is expected to be, not what it is, and f is ReLU and convolution, twice, each convolution with
 * a gain and a bias per output. With scaled standardized filters (`weightStandardization`: {@link reluGain}) f keeps the
 * variance at initialisation, so that the next block's is v + α². A widening block begins anew: its shortcut has
 * h·sqrt(2 / v), as half of its channels are zeros, and the next block's variance is 1 + α². The paper's shortcut is a
 * convolution there; that averages of 2 × 2 pixels have a lower variance is not counted.
 */
export class NormalizerFreeBlock extends Block {
  readonly norm1: ScaledAffine2d;
  readonly norm2: ScaledAffine2d;
  readonly norm3: ScaledAffine2d;
  readonly side: ScaledAffine2d | null;

  constructor(device: Device, options: NormalizerFreeBlockOptions) {
    checkOptions('NormalizerFreeBlock', options, optionNames);
    super(device, options);
    const { inChannels, widens, variance, alpha = 0.2 } = options;
    for (const [name, value] of Object.entries({ variance, alpha })) {
      check(
        Number.isFinite(value) && value > 0,
        'INVALID_ARGUMENT',
        `NormalizerFreeBlock: ${name} must be a positive number, got ${value}`,
      );
    }
    const outChannels = widens ? 2 * inChannels : inChannels;
    const factor = 1 / Math.sqrt(variance);
    this.norm1 = new ScaledAffine2d(device, inChannels, { factor, affine: false, relu: true });
    this.norm2 = new ScaledAffine2d(device, outChannels, { relu: true });
    this.norm3 = new ScaledAffine2d(device, outChannels, { factor: alpha });
    this.side = widens ? new ScaledAffine2d(device, outChannels, { factor: Math.SQRT2 * factor, affine: false }) : null;
  }

  /** @param x [N, C, H, W] */
  forward(x: Tensor): Tensor {
    using start = this.norm1.forward(x);
    using first = this.conv1.forward(start);
    using middle = this.norm2.forward(first);
    using second = this.conv2.forward(middle);
    using branch = this.norm3.forward(second);
    if (!this.side) return add(x, branch);
    using pooled = this.shortcut(x);
    using shortcut = this.side.forward(pooled);
    return add(shortcut, branch);
  }

  /** Beliefs end here: nothing in a normalizer-free network asks for them. */
  filter({ x }: Filtered): Filtered {
    return { x: this.forward(x), belief: null };
  }
}
