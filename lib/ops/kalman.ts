import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { type Affine, type NormOptions, normNames } from './batch-norm.js';
import { Belief, checkBeliefs } from './belief.js';
import { differentiable } from './differentiable.js';
import { within } from './memory.js';
import { attachMoments, type Moments, type RunningAverages, runningArguments } from './moments.js';
import { type Noise, noiseArguments } from './predict.js';

declare module '../addon/contract.js' {
  /** How a Kalman normalization filters. */
  interface KalmanFilter extends Normalization {
    splits: number;
    /** Whether x has one virtual sample a split behind the real ones: their moments are the prior. */
    hasVirtual: boolean;
    /** Whether y gets virtual samples of the posterior. */
    sample: boolean;
    /** Weight of the observation, where there is no tensor `gain`. */
    fixedGain: number;
  }

  /** Result of a Kalman normalization. */
  type KalmanResult = {
    y: Handle;
    priorMean: Maybe;
    priorVar: Maybe;
    observationMean: Handle;
    observationVar: Handle;
    posteriorMean: Handle;
    posteriorVar: Handle;
    ratio: Handle;
  };

  interface Operations {
    kalmanNorm(
      args: {
        x: Handle;
        gain?: Maybe;
        priorMean?: Maybe;
        priorVar?: Maybe;
        observationMean?: Maybe;
        observationVar?: Maybe;
        random?: RandomSource | null;
        noise?: Maybe;
        guard: number;
        running?: Running | null;
      } & Affine &
        KalmanFilter,
    ): KalmanResult;
    /** Takes the result of `kalmanNorm`, whose prior has a gradient where it isn't that of virtual samples. */
    kalmanNormBackward(
      args: {
        x: Handle;
        gain?: Maybe;
        y: Handle;
        priorMean?: Maybe;
        priorVar?: Maybe;
        observationMean: Handle;
        observationVar: Handle;
        posteriorMean: Handle;
        posteriorVar: Handle;
        ratio: Handle;
        dy: Handle;
        dposteriorMean?: Maybe;
        dposteriorVar?: Maybe;
      } & Affine &
        KalmanFilter &
        Absorbing,
    ): NormGradients & { dgain: Maybe; dpriorMean: Maybe; dpriorVar: Maybe };
  }
}

/** Options of {@link kalmanNorm}. */
export interface KalmanNormOptions extends NormOptions {
  /** S, how many groups of consecutive samples are normalized apart; default 1. */
  splits?: number;
  /** q, the weight of the observation, in [0, 1]; the reference code's p_rate is 1 - q. A vector [C] has one a channel. */
  gain: number | Tensor;
  /**
   * The prior is dropped where the mean over all (split, channel) of prior variance / batch variance isn't below this;
   * default 100, as in the reference code.
   */
  guard?: number;
  /** Append one sample a split of the rectified posterior to the output, for the prediction of the next layer. */
  sample?: Noise | null;
  /** Averages to move toward the posterior, in the same pass; default none. See {@link updateRunning}. */
  running?: RunningAverages | null;
}

const optionNames: OptionNames<KalmanNormOptions> = {
  ...normNames,
  splits: true,
  gain: true,
  guard: true,
  sample: true,
  running: true,
};

/** Result of {@link kalmanNorm}. */
export interface KalmanNormResult {
  /** The normalized samples, then the virtual ones where `sample` was asked for. */
  output: Tensor;
  /** The filtered statistics; without a prior the batch's, with the unbiased variance and without a gradient. */
  posterior: Belief;
  /** What was fused with the batch: the prior given, or the moments of the virtual samples; null where there was none. */
  prior: Moments | null;
  /** The batch statistics (biased variance), without a gradient. */
  observation: Moments;
  /** Two values: the guard's ratio, and 1 where the prior was used. */
  ratio: Tensor;
}

/**
 * Kalman normalization (arXiv 1802.03133): fuses a prior with the batch statistics and normalizes by the result.
 *
 * With p = 1 - gain: m = p·pm + (1-p)·mu, v = p·pv + (1-p)·var + p(1-p)(mu - pm)², output = (x - m) / sqrt(v + epsilon)·
 * gamma + beta. Without a prior it is {@link batchNorm}.
 *
 * @param x [N, C, H, W] or [N, C]; with `carried`, [N + S, C, H, W], real samples and one virtual sample a split
 * @param prior the prediction; `carried` for the moments of the virtual samples behind x; null in the first layer
 */
export function kalmanNorm(
  x: Tensor,
  prior: Belief | 'carried' | null,
  affine: Affine,
  options: KalmanNormOptions,
): KalmanNormResult {
  checkTensors('kalmanNorm', { x });
  checkObjects('kalmanNorm', { affine });
  checkOptions('kalmanNorm', options, optionNames);
  const { splits = 1, gain, guard = 100, epsilon = 1e-5, relu = false, sample = null, running = null } = options;
  const averages = running && runningArguments('kalmanNorm', running);
  if (prior !== null && prior !== 'carried') checkBeliefs('kalmanNorm', { prior });
  const belief = prior instanceof Belief ? prior : null;
  check(
    !belief || belief.splits === splits,
    'SHAPE_MISMATCH',
    () => `kalmanNorm: prior must have ${splits} splits, got ${belief?.splits}`,
  );
  const carried = prior === 'carried';
  const known = x.moments?.splits === splits && !carried ? x.moments : null;
  const filter = {
    splits,
    hasVirtual: carried,
    sample: sample !== null,
    fixedGain: typeof gain === 'number' ? gain : 0,
    epsilon,
    relu,
  };
  const result = differentiable({
    name: 'kalmanNorm',
    inputs: {
      x,
      gamma: affine.gamma,
      beta: affine.beta,
      gain: typeof gain === 'number' ? null : gain,
      priorMean: belief?.mean ?? null,
      priorVar: belief?.variance ?? null,
    },
    forward: (inputs) =>
      native.kalmanNorm({
        ...inputs,
        observationMean: known?.mean.handle ?? null,
        observationVar: known?.variance.handle ?? null,
        ...noiseArguments(sample),
        ...filter,
        guard,
        running: averages,
      }),
    // Without a prior, the statistics handed on carry no gradient.
    outputs: prior === null ? ['y'] : ['y', 'posteriorMean', 'posteriorVar'],
    save: ({ x, gamma, beta, gain }, results) => ({ x, gamma, beta, gain, ...results }),
    absorbs: !carried,
    backward({ saved, grads, existing, virtualSamples, orZeros }) {
      const { dx, dgamma, dbeta, dgain, dpriorMean, dpriorVar } = native.kalmanNormBackward({
        ...saved,
        dy: orZeros(grads.y, saved.y),
        dposteriorMean: grads.posteriorMean ?? null,
        dposteriorVar: grads.posteriorVar ?? null,
        ...filter,
        add: existing,
        virtualSamples,
      });
      return { x: dx, gamma: dgamma, beta: dbeta, gain: dgain, priorMean: dpriorMean, priorVar: dpriorVar };
    },
  });
  return {
    output: result.y,
    posterior: new Belief(result.posteriorMean, result.posteriorVar, splits),
    prior: result.priorMean && result.priorVar ? { mean: result.priorMean, variance: result.priorVar } : null,
    observation: { mean: result.observationMean, variance: result.observationVar },
    ratio: result.ratio,
  };
}

/**
 * The Kalman filter's update: fuses a prior with the batch statistics of x, without normalizing. See {@link kalmanNorm}.
 */
export function update(x: Tensor, prior: Belief | null, options: KalmanNormOptions): Belief {
  const { output, posterior, observation, ratio, ...used } = kalmanNorm(x, prior, { gamma: null, beta: null }, options);
  const { mean = null, variance = null } = used.prior ?? {};
  for (const tensor of [output, mean, variance, observation.mean, observation.variance, ratio]) tensor?.dispose();
  return posterior;
}

/**
 * The residual addition of the reference network: adds the shortcut to the real samples of a convolution's output, and
 * the shortcut's belief to the moments of its virtual samples.
 *
 * @param shortcut [N, C, H, W]
 * @param belief of the shortcut
 * @param branch [N + S, C, H, W]; overwritten, and not to be used any more
 * @returns the sum, with its moments for the normalization that follows, and its prior
 */
export function kalmanResidual(shortcut: Tensor, belief: Belief, branch: Tensor): { output: Tensor; prior: Belief } {
  checkTensors('kalmanResidual', { shortcut, branch });
  checkBeliefs('kalmanResidual', { belief });
  const { splits } = belief;
  const real = shortcut.shape[0] as number;
  check(
    branch.shape[0] === real + splits,
    'SHAPE_MISMATCH',
    () => `kalmanResidual: branch must have ${real} real and ${splits} virtual samples, got ${branch.shape[0]}`,
  );
  const result = differentiable({
    name: 'kalmanResidual',
    inputs: { shortcut, mean: belief.mean, variance: belief.variance, branch },
    forward(inputs) {
      const images = inputs.branch.samples(real, splits);
      const drawn = native.moments({ x: images, splits });
      const head = inputs.branch.samples(0, real);
      const sum = native.addMoments({ a: inputs.shortcut, b: head, splits, inPlace: true });
      head.dispose();
      return {
        ...sum,
        priorMean: native.add({ a: inputs.mean, b: drawn.mean }),
        priorVar: native.add({ a: inputs.variance, b: drawn.var }),
        images,
        center: drawn.mean,
        spread: drawn.var,
      };
    },
    outputs: ['out', 'priorMean', 'priorVar'],
    internal: ['images', 'center', 'spread'],
    save: (_, { out, images, center }) => ({ out, images, center }),
    backward({ saved: { out, images, center }, grads, orZeros }) {
      const dy = orZeros(grads.out, out);
      const [dmean, dvar] = [orZeros(grads.priorMean, center), orZeros(grads.priorVar, center)];
      const dbranch =
        dy.virtualSamples >= splits
          ? native.grow({ tensor: dy, virtualSamples: splits })
          : copyWithRoom(branch.device, dy, splits);
      within(dbranch, real, splits, (dx) =>
        native.momentsBackward({ x: images, splits, mean: center, dmean, dvar, dx }).dispose(),
      );
      return { shortcut: dy, mean: dmean, variance: dvar, branch: dbranch };
    },
  });
  const { out: output } = result;
  attachMoments(output, splits, result.mean, result.var);
  // The branch's gradient is the output's with the virtual samples' behind it: backward of the next layer leaves room.
  output.virtualSamples = splits;
  return { output, prior: new Belief(result.priorMean, result.priorVar, splits) };
}

/** A copy of an activation, with uninitialised virtual samples behind it. */
function copyWithRoom({ native: device }: Device, from: Handle, virtualSamples: number): Handle {
  const [count = 0, ...rest] = from.shape;
  const shape = [count + virtualSamples, ...rest];
  const grown = native.empty({ device, shape, dtype: 'float32', format: 'activation', virtualSamples: 0 });
  within(grown, 0, count, (to) => native.copy({ from, to }));
  return grown;
}
