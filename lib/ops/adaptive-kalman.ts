import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { type Affine, type NormOptions, normNames } from './batch-norm.js';
import { Belief, checkBeliefs } from './belief.js';
import { differentiable } from './differentiable.js';
import type { Moments } from './moments.js';
import { checkTransitionGradient, type TransitionGradient } from './transition-gradient.js';

declare module '../addon/contract.js' {
  /** What an adaptive Kalman normalization found: belief [C]; observation, posterior and gain [splits·C]. */
  type AdaptiveResult = {
    beliefMean: Handle;
    beliefVar: Handle;
    observationMean: Handle;
    observationVar: Handle;
    posteriorMean: Handle;
    posteriorVar: Handle;
    gainMean: Handle;
    gainVar: Handle;
  };

  interface Operations {
    /**
     * Moves `state` [12, C] and the running averages. Without a prior the belief is what the correction makes of N(0, 1).
     * `normalizedVar`: gamma², null without gamma.
     */
    adaptiveKalmanNorm(
      args: {
        x: Handle;
        priorMean?: Maybe;
        priorVar?: Maybe;
        state: Handle;
        upstream?: Maybe;
        runningMean: Handle;
        runningVar: Handle;
        observationMean?: Maybe;
        observationVar?: Maybe;
        splits: number;
        /** Weight of the observation; negative: estimated. */
        fixedGain: number;
        correction: number;
        adaptation: number;
        gate: number;
        momentum: number;
      } & Affine &
        Normalization,
    ): { y: Handle; normalizedVar: Maybe } & AdaptiveResult;
    adaptiveKalmanNormBackward(
      args: {
        x: Handle;
        priorMean?: Maybe;
        priorVar?: Maybe;
        dy: Handle;
        dbeliefMean?: Maybe;
        dbeliefVar?: Maybe;
        dnormalizedVar?: Maybe;
        splits: number;
        observationGradient: number;
      } & AdaptiveResult &
        Affine &
        Normalization &
        Absorbing,
    ): NormGradients & { dpriorMean: Maybe; dpriorVar: Maybe };
  }
}

/** Rows of an adaptive filter's state, in their order. */
export const filterRows = [
  'offset',
  'logRatio',
  'meanError',
  'meanNoise',
  'varianceError',
  'varianceNoise',
  'lastMean',
  'lastVariance',
  'steps',
  'varianceBias',
  'innovationMean',
  'innovationVariance',
] as const;

/**
 * How many filters along a stream correct all that they see: together they move a belief by so many times `correction` of
 * what the whole stream has changed by. Each behind them corrects only what the one before it hasn't seen: many that don't
 * know of each other overshoot.
 */
const FREE_CORRECTIONS = 4;

/** What an adaptive Kalman normalization keeps from step to step, and moves. */
export interface AdaptiveState {
  /** [12, C], from zeros: see {@link filterRows}. */
  filter: Tensor;
  /** Averages of what was normalized by, [C] each, for inference. */
  running: Moments;
}

/** Options of {@link adaptiveKalmanNorm}. */
export interface AdaptiveKalmanOptions extends NormOptions {
  /** S, how many groups of consecutive samples are normalized apart; default 1. */
  splits?: number;
  /** Weight of the observation in [0, 1], or `adaptive`, the default: estimated per channel and split. */
  gain?: number | 'adaptive';
  /** Weight of a step's innovation in the belief's correction; default 0.1. 0: the belief is never corrected. */
  correction?: number;
  /** Weight of a step in the estimates of the belief's error and of the observation's noise; default 0.1. */
  adaptation?: number;
  /** An innovation whose square exceeds its noise this many times widens the gain; default 4. */
  gate?: number;
  /**
   * What the observation gets of the gradient beyond its gain, in [0, 1]; the belief gets the rest. Default `auto`:
   * 1 - 1/m with m samples in a split, and the square of that beside observed transition gradients. The gradient through
   * a split's statistics takes from every sample what it shares with its split, itself included: that is 1/m of what
   * tells samples apart, all of it at m = 1.
   */
  observationGradient?: number | 'auto';
  /** How the prior knows its gradient, see {@link TransitionGradient}; default `closed-form`. */
  transitionGradient?: TransitionGradient;
  /** Weight of a step in the running averages; default 0.1. */
  momentum?: number;
}

/** How the filter works, without what it shares with other normalizations. @internal */
export type FilterOptions = Required<Omit<AdaptiveKalmanOptions, 'epsilon' | 'relu' | 'splits' | 'momentum'>>;

/** @internal */
export const filterNames: OptionNames<FilterOptions> = {
  gain: true,
  correction: true,
  adaptation: true,
  gate: true,
  observationGradient: true,
  transitionGradient: true,
};

const optionNames: OptionNames<AdaptiveKalmanOptions> = { ...normNames, ...filterNames, splits: true, momentum: true };

/** Result of {@link adaptiveKalmanNorm}. */
export interface AdaptiveKalmanResult {
  /** The normalized samples. */
  output: Tensor;
  /** What is believed of `output`, N(beta, gamma²), rectified where ReLU follows; null without gamma and beta. */
  normalized: Belief | null;
  /** The prior, corrected: what is believed of x. One for all splits. */
  belief: Belief;
  /** Statistics of the splits. */
  observation: Moments;
  /** What was normalized by. */
  posterior: Moments;
  /** Weights of the observation's mean and of its log variance, per (split, channel). */
  gain: Moments;
}

/**
 * What the observation gets of the gradient beyond its gain.
 *
 * @param others share of an observation that isn't the sample's own
 * @internal
 */
export function observationShare(
  others: number,
  { observationGradient = 'auto', transitionGradient }: AdaptiveKalmanOptions,
): number {
  if (observationGradient !== 'auto') return observationGradient;
  return others ** (transitionGradient === 'observed' ? 2 : 1);
}

/**
 * Kalman normalization with an adaptive filter. The prior, one for all splits, is corrected by a slow average of its own
 * innovation, and fused with each split's statistics by a gain that is estimated from the belief's error and the
 * observation's noise; means are fused in standard deviations of the belief, variances by their logarithm. The gradient
 * is fused likewise: `observationGradient` of it, and the gain, flow through the split's statistics, the rest through the
 * belief. See docs/filter.md.
 *
 * @param x [N, C, H, W] or [N, C]
 * @param prior of one split; null where nothing is known: then the correction alone makes the belief (a filter over time),
 *   and all of the gradient flows through the observation
 */
export function adaptiveKalmanNorm(
  x: Tensor,
  prior: Belief | null,
  affine: Affine,
  state: AdaptiveState,
  options: AdaptiveKalmanOptions = {},
): AdaptiveKalmanResult {
  checkTensors('adaptiveKalmanNorm', { x });
  if (prior !== null) checkBeliefs('adaptiveKalmanNorm', { prior });
  checkObjects('adaptiveKalmanNorm', { affine, state });
  checkOptions('adaptiveKalmanNorm', options, optionNames);
  const { splits = 1, gain = 'adaptive', correction = 0.1, adaptation = 0.1, gate = 4, momentum = 0.1 } = options;
  const { transitionGradient = 'closed-form', epsilon = 1e-5, relu = false } = options;
  const observationGradient = observationShare(Math.max(0, 1 - splits / (x.shape[0] as number)), options);
  check(
    !prior || (prior.splits === 1 && !prior.rectified),
    'INVALID_ARGUMENT',
    () => `adaptiveKalmanNorm: prior must be one Gaussian belief for all splits, got ${prior?.splits}`,
  );
  check(
    gain === 'adaptive' || (gain >= 0 && gain <= 1),
    'INVALID_ARGUMENT',
    `adaptiveKalmanNorm: gain must be "adaptive" or between 0 and 1, got ${gain}`,
  );
  checkTransitionGradient('adaptiveKalmanNorm', transitionGradient);
  const before = prior?.upstream ?? null;
  const upstream = before && before.corrections >= FREE_CORRECTIONS ? before.filter : null;
  const known = x.moments?.splits === splits ? x.moments : null;
  const filter = { splits, epsilon, relu };
  const outputs: ('y' | 'beliefMean' | 'beliefVar' | 'normalizedVar')[] = ['y'];
  if (prior) outputs.push('beliefMean', 'beliefVar');
  if (affine.gamma) outputs.push('normalizedVar');
  const result = differentiable({
    name: 'adaptiveKalmanNorm',
    inputs: {
      x,
      gamma: affine.gamma,
      beta: affine.beta,
      priorMean: prior?.mean ?? null,
      priorVar: prior?.variance ?? null,
    },
    forward: (inputs) =>
      native.adaptiveKalmanNorm({
        ...inputs,
        state: state.filter.handle,
        upstream: upstream?.handle ?? null,
        runningMean: state.running.mean.handle,
        runningVar: state.running.variance.handle,
        observationMean: known?.mean.handle ?? null,
        observationVar: known?.variance.handle ?? null,
        fixedGain: gain === 'adaptive' ? -1 : gain,
        correction,
        adaptation,
        gate,
        momentum,
        ...filter,
      }),
    outputs,
    save: (inputs, { y: _, normalizedVar: __, ...statistics }) => ({ ...inputs, ...statistics }),
    absorbs: true,
    backward({ saved, grads, existing, virtualSamples, orZeros }) {
      const { dx, dgamma, dbeta, dpriorMean, dpriorVar } = native.adaptiveKalmanNormBackward({
        ...saved,
        dy: orZeros(grads.y, saved.x),
        dbeliefMean: grads.beliefMean ?? null,
        dbeliefVar: grads.beliefVar ?? null,
        dnormalizedVar: grads.normalizedVar ?? null,
        observationGradient,
        ...filter,
        add: existing,
        virtualSamples,
      });
      return { x: dx, gamma: dgamma, beta: dbeta, priorMean: dpriorMean, priorVar: dpriorVar };
    },
  });
  const { normalizedVar } = result;
  return {
    output: result.y,
    normalized: affine.beta && normalizedVar && new Belief(affine.beta, normalizedVar, 1, relu),
    belief: new Belief(result.beliefMean, result.beliefVar, 1, false, {
      filter: state.filter,
      corrections: (before?.corrections ?? 0) + 1,
    }),
    observation: { mean: result.observationMean, variance: result.observationVar },
    posterior: { mean: result.posteriorMean, variance: result.posteriorVar },
    gain: { mean: result.gainMean, variance: result.gainVar },
  };
}
