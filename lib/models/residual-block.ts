import { check } from '../errors.js';
import { Conv2d } from '../nn/conv2d.js';
import type { KalmanNorm2d } from '../nn/kalman-norm.js';
import { type Layer, Module } from '../nn/module.js';
import { RunningNorm } from '../nn/norm.js';
import { addBeliefs, type Belief } from '../ops/belief.js';
import { kalmanResidual } from '../ops/kalman.js';
import { samples } from '../ops/memory.js';
import { addWithMoments } from '../ops/moments.js';
import { type BeliefPadding, padBelief, padChannels } from '../ops/pad.js';
import { avgPool2d } from '../ops/pool.js';
import { type Noise, predict, type Transition } from '../ops/predict.js';
import type { HostRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';

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

/** Frees, at the end of a block's forward, what it made on the way. */
class Temporaries {
  private readonly values: { dispose(): void }[] = [];

  use<T extends { dispose(): void } | null>(value: T): T {
    if (value) this.values.push(value);
    return value;
  }

  dispose(): void {
    for (const value of this.values) value.dispose();
  }
}

/** What flows between Kalman blocks: samples, and the prior of their statistics (null in inference). */
export interface KalmanState {
  x: Tensor;
  prior: Belief | null;
}

/**
 * Pre-activation residual block with Kalman normalization.
 *
 * With the sampled transition, the tensors between its layers hold in training the real samples and, behind them, one
 * virtual sample a split, drawn from the rectified posterior of the layer before: so the prediction costs no convolution
 * of its own. With the analytic one the prediction is computed from the filters.
 */
export class KalmanBlock extends Block {
  readonly norm1: KalmanNorm2d | null;
  readonly norm2: KalmanNorm2d;
  readonly beliefPadding: BeliefPadding;
  readonly transition: Transition;

  constructor(
    device: Device,
    options: BlockOptions<KalmanNorm2d> & { beliefPadding: BeliefPadding; transition?: Transition },
  ) {
    super(device, options);
    this.norm1 = options.norm1;
    this.norm2 = options.norm2;
    this.beliefPadding = options.beliefPadding;
    this.transition = options.transition ?? 'sampled';
    for (const [name, value, allowed] of [
      ['transition', this.transition, ['sampled', 'analytic']],
      ['beliefPadding', this.beliefPadding, ['aligned', 'reference']],
    ] as const) {
      check(
        (allowed as readonly string[]).includes(value),
        'INVALID_ARGUMENT',
        `KalmanBlock: ${name} must be "${allowed.join('" or "')}", got "${value}"`,
      );
    }
  }

  /** The noise for one draw of virtual samples, where there are any. @internal */
  draw(draws: () => Noise | null): Noise | null {
    if (!this.training || this.transition === 'analytic') return null;
    const noise = draws();
    check(
      noise !== null,
      'INVALID_ARGUMENT',
      'KalmanBlock: training with the sampled transition needs noise for its virtual samples: pass a DeviceRandom, or ' +
        "call the model's eval() for inference",
    );
    return noise;
  }

  /**
   * @param x [N, C, H, W]; for the network's first block [N + S, C, H, W] in sampled training, with the virtual samples
   *   of the layer before
   * @param prior of x; in the first block the statistics of the layer before; null in inference
   * @param draws noise for one draw of virtual samples
   * @returns the block's output without virtual samples, and its prior
   */
  forward(x: Tensor, prior: Belief | null, draws: () => Noise | null): KalmanState {
    const temporaries = new Temporaries();
    try {
      if (!this.training || !prior) return this.infer(x, temporaries);
      return this.transition === 'analytic'
        ? this.trainAnalytic(x, prior, temporaries)
        : this.trainSampled(x, prior, draws, temporaries);
    } finally {
      temporaries.dispose();
    }
  }

  private infer(x: Tensor, temporaries: Temporaries): KalmanState {
    const use = temporaries.use.bind(temporaries);
    const start = this.norm1 ? use(this.norm1.step(x, null).output) : x;
    const middle = use(this.norm2.step(use(this.conv1.forward(start)), null).output);
    const branch = use(this.conv2.forward(middle));
    return { x: addWithMoments(this.usedShortcut(x, temporaries), branch, 0, { inPlace: true }), prior: null };
  }

  private trainSampled(x: Tensor, prior: Belief, draws: () => Noise | null, temporaries: Temporaries): KalmanState {
    const use = temporaries.use.bind(temporaries);
    const start = this.norm1?.step(x, prior, this.draw(draws));
    use(start?.posterior ?? null);
    const activated = start ? use(start.output) : x;
    const real = start ? x : use(samples(x, 0, (x.shape[0] as number) - this.norm2.splits));
    const middle = this.norm2.step(use(this.conv1.forward(activated)), 'carried', this.draw(draws));
    use(middle.posterior);
    const branch = use(this.conv2.forward(use(middle.output)));
    const sum = kalmanResidual(this.usedShortcut(real, temporaries), this.shortcutBelief(prior, temporaries), branch);
    return { x: sum.output, prior: sum.prior };
  }

  private trainAnalytic(x: Tensor, prior: Belief, temporaries: Temporaries): KalmanState {
    const use = temporaries.use.bind(temporaries);
    const through = (conv: Conv2d, input: Tensor, belief: Belief) => {
      const [, , height = 1, width = 1] = input.shape;
      return {
        output: use(conv.forward(input)),
        prior: use(predict(belief, conv.weight, { ...conv.options, height, width, transition: 'analytic' })),
      };
    };
    const start = this.norm1?.step(x, prior);
    const activated = start ? use(start.output) : x;
    const inner = through(this.conv1, activated, use(start?.posterior ?? null) ?? prior);
    const middle = this.norm2.step(inner.output, inner.prior);
    const branch = through(this.conv2, use(middle.output), use(middle.posterior) as Belief);
    const shortcut = this.usedShortcut(x, temporaries);
    return {
      x: addWithMoments(shortcut, branch.output, this.norm2.splits, { inPlace: true }),
      prior: addBeliefs(this.shortcutBelief(prior, temporaries), branch.prior),
    };
  }

  private usedShortcut(x: Tensor, temporaries: Temporaries): Tensor {
    const shortcut = this.shortcut(x);
    return shortcut === x ? x : temporaries.use(shortcut);
  }

  private shortcutBelief(prior: Belief, temporaries: Temporaries): Belief {
    const pad = this.inChannels / 2;
    return this.widens ? temporaries.use(padBelief(prior, pad, pad, this.beliefPadding)) : prior;
  }
}
