import type { Maybe, RandomSource } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { DeviceRandom } from '../device-random.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { Tensor } from '../tensor.js';
import { Belief, checkBeliefs } from './belief.js';
import { type Conv2dOptions, conv2d, conv2dNames, convShape } from './conv2d.js';
import { differentiable } from './differentiable.js';
import { moments } from './moments.js';
import type { ObservedSlope } from './observed-variance.js';

declare module '../addon/contract.js' {
  /** A belief that is pushed through ReLU and a convolution. */
  interface PushedBelief {
    mean: Handle;
    variance: Handle;
    w: Handle;
    splits: number;
    height: number;
    width: number;
    shape: ConvShape;
    /** Variance over the positions of all images, instead of what it is within one on average. */
    population: boolean;
    /** Whether the convolution sees max(x, 0) of a Gaussian x. */
    rectified: boolean;
  }

  interface Operations {
    /** Mean and variance of max(x, 0) for a Gaussian x. */
    rectifyBelief(args: { mean: Handle; variance: Handle }): { mean: Handle; var: Handle };
    rectifyBeliefBackward(args: { mean: Handle; variance: Handle; dmean: Handle; dvariance: Handle }): {
      mean: Handle;
      var: Handle;
    };
    samplePrior(args: {
      mean: Handle;
      variance: Handle;
      splits: number;
      height: number;
      width: number;
      random?: RandomSource | null;
      noise?: Maybe;
    }): Handle;
    samplePriorBackward(args: { mean: Handle; variance: Handle; y: Handle; dy: Handle }): { mean: Handle; var: Handle };
    predict(args: PushedBelief): { mean: Handle; var: Handle };
    /** A `slope` that samples have shown takes the place of the variance's closed form, with what belongs to it. */
    predictBackward(
      args: PushedBelief & { dmean: Handle; dvariance?: Maybe; slope?: Maybe; believed?: Maybe; average?: Maybe },
    ): {
      dmean: Handle;
      dvar: Handle;
      dw: Handle;
    };
  }
}

/** Where virtual samples take their standard normal values from: a random stream, or a tensor [S, C, H, W] of them. */
export type Noise = DeviceRandom | Tensor;

/**
 * One sample a split of the rectified Gaussian of a belief: relu(z·sqrt(variance) + mean), [S, C, height, width].
 */
export function samplePrior(belief: Belief, size: { height: number; width: number }, noise: Noise): Tensor {
  checkBeliefs('samplePrior', { belief });
  checkObjects('samplePrior', { size, noise });
  const { mean, variance, splits } = belief;
  const { height, width } = size;
  return differentiable({
    name: 'samplePrior',
    inputs: { mean, variance },
    forward: (inputs) => ({ y: native.samplePrior({ ...inputs, splits, height, width, ...noiseArguments(noise) }) }),
    outputs: ['y'],
    save: (inputs, results) => ({ ...inputs, ...results }),
    backward({ saved, grads }) {
      const gradient = native.samplePriorBackward({ ...saved, dy: grads.y });
      return { mean: gradient.mean, variance: gradient.var };
    },
  }).y;
}

/** Noise as the addon takes it. @internal */
export function noiseArguments(noise: Noise | null): { random: RandomSource | null; noise: Maybe } {
  return {
    random: noise instanceof DeviceRandom ? noise.next() : null,
    noise: noise instanceof Tensor ? noise.handle : null,
  };
}

/**
 * How a belief is pushed through ReLU and a convolution: `sampled`, by one image a split of rectified Gaussian values, as
 * in the reference code; `analytic`, by closed forms of what the sampled one gives on average.
 */
export type Transition = 'sampled' | 'analytic';

/** Options of {@link predict}: stride and padding of the convolution, and the size of its real input. */
export interface PredictOptions extends Conv2dOptions {
  height: number;
  width: number;
  /** Default `sampled` where noise is given, else `analytic`. */
  transition?: Transition;
  /** For the sampled transition. */
  noise?: Noise;
  /**
   * Of the analytic transition: the variance over the positions of all images, as a belief of the whole population has
   * it, instead of what it is within one image on average; default false.
   */
  population?: boolean;
}

const propagateNames: OptionNames<Conv2dOptions & { height: number; width: number }> = {
  ...conv2dNames,
  height: true,
  width: true,
};
const predictNames: OptionNames<PredictOptions> = {
  ...propagateNames,
  transition: true,
  noise: true,
  population: true,
};

/**
 * The Kalman filter's prediction: pushes a belief through ReLU and a convolution, and gives the prior of what the
 * convolution puts out: mean and (biased) variance over the positions of one image.
 *
 * @param belief of the convolution's (not yet rectified) input
 * @param weight the filter that the real samples go through
 * @throws KalmanNormError `INVALID_ARGUMENT` for a sampled transition without noise, or another name of one
 */
export function predict(belief: Belief, weight: Tensor, options: PredictOptions): Belief {
  checkTensors('predict', { weight });
  checkBeliefs('predict', { belief });
  checkOptions('predict', options, predictNames);
  const { noise, transition = noise ? 'sampled' : 'analytic', height, width, population: _, ...window } = options;
  check(
    transition === 'analytic' || transition === 'sampled',
    'INVALID_ARGUMENT',
    `predict: transition must be "sampled" or "analytic", got "${transition}"`,
  );
  if (transition === 'analytic') return predictAnalytic(belief, weight, { ...options, rectified: true });
  check(noise !== undefined, 'INVALID_ARGUMENT', 'predict: a sampled transition needs noise');
  const image = samplePrior(belief, { height, width }, noise);
  const transformed = conv2d(image, weight, window);
  const { mean, variance } = moments(transformed, belief.splits);
  image.dispose();
  transformed.dispose();
  return new Belief(mean, variance, belief.splits);
}

/**
 * The moments of what a convolution makes of its input, in closed form: of the whole population, and of an input that is
 * rectified only where its belief says so.
 *
 * @param belief of the convolution's input
 * @param options stride and padding of the convolution, and the size of its input
 */
export function propagate(
  belief: Belief,
  weight: Tensor,
  options: Conv2dOptions & { height: number; width: number },
): Belief {
  checkTensors('propagate', { weight });
  checkBeliefs('propagate', { belief });
  checkOptions('propagate', options, propagateNames);
  return predictAnalytic(belief, weight, { ...options, population: true, rectified: belief.rectified });
}

/**
 * As {@link propagate}, with the gradient through the variance that samples have shown; see {@link observedVariance}.
 *
 * @internal
 */
export function propagateObserved(
  belief: Belief,
  weight: Tensor,
  options: Conv2dOptions & { height: number; width: number },
  observed: ObservedSlope,
): Belief {
  return predictAnalytic(belief, weight, { ...options, population: true, rectified: belief.rectified, observed });
}

interface AnalyticOptions extends PredictOptions {
  rectified: boolean;
  observed?: ObservedSlope;
}

function predictAnalytic(belief: Belief, weight: Tensor, options: AnalyticOptions): Belief {
  const { mean, variance, splits } = belief;
  const { height, width, population = false, rectified, observed } = options;
  const shape = convShape([splits, belief.channels, height, width], weight.shape, options);
  check(
    shape.length === 6,
    'INVALID_ARGUMENT',
    'predict: expected no dilation and no groups; Conv2d knows the transition of both',
  );
  const transition = { splits, height, width, shape, population, rectified };
  const prior = differentiable({
    name: 'predict',
    inputs: { mean, variance, w: weight },
    forward: (inputs) => native.predict({ ...inputs, ...transition }),
    outputs: ['mean', 'var'],
    save: (inputs, result) => ({
      ...inputs,
      prior: result.mean,
      believed: observed ? result.var : null,
      slope: observed?.slope.handle ?? null,
      average: observed?.variance.handle ?? null,
    }),
    backward({ saved: { prior, ...inputs }, grads, orZeros }) {
      const dmean = orZeros(grads.mean, prior);
      const given = native.predictBackward({ ...inputs, ...transition, dmean, dvariance: grads.var });
      return { mean: given.dmean, variance: given.dvar, w: given.dw };
    },
  });
  return new Belief(prior.mean, prior.var, splits);
}

/** The mean and variance of a rectified belief's variable itself; another belief is returned as it is. */
export function rectifyBelief(belief: Belief): Belief {
  checkBeliefs('rectifyBelief', { belief });
  if (!belief.rectified) return belief;
  const { mean, variance, splits } = belief;
  const result = differentiable({
    name: 'rectifyBelief',
    inputs: { mean, variance },
    forward: (inputs) => native.rectifyBelief(inputs),
    outputs: ['mean', 'var'],
    save: (inputs) => inputs,
    backward({ saved, grads, orZeros }) {
      const [dmean, dvariance] = [orZeros(grads.mean, saved.mean), orZeros(grads.var, saved.mean)];
      const given = native.rectifyBeliefBackward({ ...saved, dmean, dvariance });
      return { mean: given.mean, variance: given.var };
    },
  });
  return new Belief(result.mean, result.var, splits);
}
