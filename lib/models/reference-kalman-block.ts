import { check } from '../errors.js';
import type { Conv2d } from '../nn/conv2d.js';
import type { ReferenceKalmanNorm2d } from '../nn/reference-kalman-norm.js';
import { Temporaries } from '../nn/temporaries.js';
import { addBeliefs, type Belief } from '../ops/belief.js';
import { conv2d } from '../ops/conv2d.js';
import { kalmanResidual } from '../ops/kalman.js';
import { samples } from '../ops/memory.js';
import { addWithMoments } from '../ops/moments.js';
import { type BeliefPadding, padBelief } from '../ops/pad.js';
import { type Noise, predict, type Transition } from '../ops/predict.js';
import { checkOptions } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Block, type BlockOptions, normalizedBlockNames } from './residual-block.js';

/** What flows between Kalman blocks: samples, and the prior of their statistics (null in inference). */
export interface ReferenceKalmanState {
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
export class ReferenceKalmanBlock extends Block {
  readonly norm1: ReferenceKalmanNorm2d | null;
  readonly norm2: ReferenceKalmanNorm2d;
  readonly beliefPadding: BeliefPadding;
  readonly transition: Transition;

  constructor(
    device: Device,
    options: BlockOptions<ReferenceKalmanNorm2d> & { beliefPadding: BeliefPadding; transition?: Transition },
  ) {
    checkOptions('ReferenceKalmanBlock', options, { ...normalizedBlockNames, beliefPadding: true, transition: true });
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
        `ReferenceKalmanBlock: ${name} must be "${allowed.join('" or "')}", got "${value}"`,
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
      'ReferenceKalmanBlock: training with the sampled transition needs noise for its virtual samples: pass a ' +
        "DeviceRandom, or call the model's eval() for inference",
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
  forward(x: Tensor, prior: Belief | null, draws: () => Noise | null): ReferenceKalmanState {
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

  private infer(x: Tensor, temporaries: Temporaries): ReferenceKalmanState {
    const use = temporaries.use.bind(temporaries);
    const start = this.norm1 ? use(this.norm1.step(x, null).output) : x;
    const middle = use(this.norm2.step(use(this.conv1.forward(start)), null).output);
    const branch = use(this.conv2.forward(middle));
    return { x: addWithMoments(this.usedShortcut(x, temporaries), branch, 0, { inPlace: true }), prior: null };
  }

  private trainSampled(
    x: Tensor,
    prior: Belief,
    draws: () => Noise | null,
    temporaries: Temporaries,
  ): ReferenceKalmanState {
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

  private trainAnalytic(x: Tensor, prior: Belief, temporaries: Temporaries): ReferenceKalmanState {
    const use = temporaries.use.bind(temporaries);
    const through = (conv: Conv2d, input: Tensor, belief: Belief) => {
      const [, , height = 1, width = 1] = input.shape;
      return conv.withFilter((filter) => ({
        output: use(conv2d(input, filter, conv.options)),
        prior: use(predict(belief, filter, { ...conv.options, height, width, transition: 'analytic' })),
      }));
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
