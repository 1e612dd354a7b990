import type { Device } from '../device.js';
import { check } from '../errors.js';
import { Conv2d } from '../nn/conv2d.js';
import type { KalmanNorm2d } from '../nn/kalman-norm.js';
import { type Layer, Module } from '../nn/module.js';
import { RunningNorm } from '../nn/norm.js';
import { samples } from '../ops/elementwise.js';
import { type Belief, type BeliefPadding, kalmanResidual, type Noise, padBelief } from '../ops/kalman.js';
import { addWithMoments } from '../ops/moments.js';
import { avgPool2d, padChannels } from '../ops/pool.js';
import type { HostRandom } from '../random.js';
import type { Tensor } from '../tensor.js';

/** Options common to the blocks. */
export interface BlockOptions<Norm> {
  inChannels: number;
  /** Doubles the channels and halves height and width. */
  widens: boolean;
  /** The network's first block: its input is normalized already. */
  first: boolean;
  /** With ReLU; null in the first block. */
  norm1: Norm | null;
  /** With ReLU. */
  norm2: Norm;
  random: HostRandom;
}

/** Convolutions and shortcut, which all blocks share. */
abstract class Block extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  protected readonly inChannels: number;
  protected readonly widens: boolean;

  constructor(device: Device, options: BlockOptions<unknown>) {
    super();
    const { inChannels, widens, random } = options;
    const outChannels = widens ? 2 * inChannels : inChannels;
    this.inChannels = inChannels;
    this.widens = widens;
    this.conv1 = new Conv2d(device, inChannels, outChannels, 3, { stride: widens ? 2 : 1, padding: 'same', random });
    this.conv2 = new Conv2d(device, outChannels, outChannels, 3, { padding: 'same', random });
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

/** Pre-activation residual block with a normalization that needs nothing but its input. */
export class PlainBlock extends Block {
  readonly norm1: Layer | null;
  readonly norm2: Layer;

  constructor(device: Device, options: BlockOptions<Layer>) {
    super(device, options);
    this.norm1 = options.norm1;
    this.norm2 = options.norm2;
  }

  /** shortcut(x) + conv2(norm2(conv1(norm1(x)))) */
  forward(x: Tensor): Tensor {
    const activated = this.norm1 ? this.norm1.forward(x) : x;
    const inner = this.conv1.forward(activated);
    if (activated !== x) activated.dispose();
    const normalized = this.norm2.forward(inner);
    inner.dispose();
    const branch = this.conv2.forward(normalized);
    normalized.dispose();
    const shortcut = this.shortcut(x);
    // The normalization behind the block has the splits of this one's.
    const splits = this.training && this.norm2 instanceof RunningNorm ? this.norm2.splits : 0;
    const sum = addWithMoments(shortcut, branch, splits, { inPlace: true });
    if (shortcut !== x) shortcut.dispose();
    branch.dispose();
    return sum;
  }
}

/**
 * Pre-activation residual block with Kalman normalization. In training the tensors between its layers hold the real
 * samples and, behind them, one virtual sample a split, drawn from the rectified posterior of the layer before: so the
 * prediction costs no convolution of its own.
 */
export class KalmanBlock extends Block {
  readonly norm1: KalmanNorm2d | null;
  readonly norm2: KalmanNorm2d;
  readonly beliefPadding: BeliefPadding;

  constructor(device: Device, options: BlockOptions<KalmanNorm2d> & { beliefPadding: BeliefPadding }) {
    super(device, options);
    this.norm1 = options.norm1;
    this.norm2 = options.norm2;
    this.beliefPadding = options.beliefPadding;
  }

  /**
   * @param x [N, C, H, W]; for the network's first block [N + S, C, H, W] in training, with the virtual samples of the
   *   layer before
   * @param prior of x; in the first block the statistics of the layer before; null in inference
   * @param draws noise for one draw of virtual samples
   * @returns the block's output without virtual samples, and its prior
   */
  forward(x: Tensor, prior: Belief | null, draws: () => Noise | null): { x: Tensor; prior: Belief | null } {
    const draw = () => {
      if (!this.training) return null;
      const noise = draws();
      check(
        noise !== null,
        'INVALID_ARGUMENT',
        'KalmanBlock: training needs noise for its virtual samples: pass a Generator',
      );
      return noise;
    };
    const used: { dispose(): void }[] = [];
    const use = <T extends { dispose(): void } | null>(value: T): T => {
      if (value) used.push(value);
      return value;
    };
    const { splits } = this.norm2;
    const carried = this.training ? 'carried' : null;

    const start = this.norm1?.step(x, prior, draw());
    const activated = start ? use(start.output) : x;
    const real = this.training && !start ? use(samples(x, 0, (x.shape[0] as number) - splits)) : x;
    const middle = this.norm2.step(use(this.conv1.forward(activated)), carried, draw());
    const branch = use(this.conv2.forward(use(middle.output)));
    for (const step of [start, middle]) use(step?.posterior ?? null);

    const shortcut = this.shortcut(real);
    if (shortcut !== real) use(shortcut);
    let result: { x: Tensor; prior: Belief | null };
    if (this.training && prior) {
      const pad = this.inChannels / 2;
      const belief = this.widens ? use(padBelief(prior, pad, pad, this.beliefPadding)) : prior;
      const { output, prior: next } = kalmanResidual(shortcut, belief, branch);
      result = { x: output, prior: next };
    } else {
      result = { x: addWithMoments(shortcut, branch, 0, { inPlace: true }), prior: null };
    }
    for (const value of used) value.dispose();
    return result;
  }
}
