import { record } from '../autograd.js';
import { check } from '../errors.js';
import { Generator } from '../generator.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';
import { Belief } from './belief.js';
import { type Conv2dOptions, conv2d, convShape } from './conv2d.js';
import { moments } from './moments.js';

/** Where virtual samples take their standard normal values from: a generator, or a tensor [S, C, H, W] of them. */
export type Noise = Generator | Tensor;

/**
 * One sample a split of the rectified Gaussian of a belief: relu(z·sqrt(variance) + mean), [S, C, height, width].
 */
export function samplePrior(belief: Belief, size: { height: number; width: number }, noise: Noise): Tensor {
  const { mean, variance, splits } = belief;
  const y = new Tensor(
    mean.device,
    native.samplePrior(
      mean.handle,
      variance.handle,
      splits,
      size.height,
      size.width,
      noise instanceof Generator ? noise.next() : null,
      noise instanceof Tensor ? noise.handle : null,
    ),
  );
  record([mean, variance], () => {
    const saved = [mean, variance, y].map((tensor) => tensor.handle.share());
    const [m, v, output] = saved;
    return {
      name: 'samplePrior',
      inputs: [mean, variance],
      outputs: [y],
      saved,
      backward({ grads: [dy] }) {
        if (!dy) return [null, null];
        const gradient = native.samplePriorBackward(m!, v!, output!, dy);
        return [gradient.mean, gradient.var];
      },
    };
  });
  return y;
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
}

/**
 * The Kalman filter's prediction: pushes a belief through ReLU and a convolution, and gives the prior of what the
 * convolution puts out: mean and (biased) variance over the positions of one image.
 *
 * @param belief of the convolution's (not yet rectified) input
 * @param weight the filter that the real samples go through
 * @throws KalmanNormError `INVALID_ARGUMENT` for a sampled transition without noise, or another name of one
 */
export function predict(belief: Belief, weight: Tensor, options: PredictOptions): Belief {
  const { noise, transition = noise ? 'sampled' : 'analytic' } = options;
  check(
    transition === 'analytic' || transition === 'sampled',
    'INVALID_ARGUMENT',
    `predict: transition must be "sampled" or "analytic", got "${transition}"`,
  );
  if (transition === 'analytic') return predictAnalytic(belief, weight, options);
  check(noise !== undefined, 'INVALID_ARGUMENT', 'predict: a sampled transition needs noise');
  const image = samplePrior(belief, options, noise);
  const transformed = conv2d(image, weight, options);
  const { mean, variance } = moments(transformed, belief.splits);
  image.dispose();
  transformed.dispose();
  return new Belief(mean, variance, belief.splits);
}

function predictAnalytic(belief: Belief, weight: Tensor, options: PredictOptions): Belief {
  const { mean, variance, splits } = belief;
  const { height, width } = options;
  const shape = convShape([splits, belief.channels, height, width], weight.shape, options);
  const result = native.transition(mean.handle, variance.handle, weight.handle, splits, height, width, shape);
  const prior = new Belief(new Tensor(mean.device, result.mean), new Tensor(mean.device, result.var), splits);
  record([mean, variance, weight], () => {
    const saved = [mean, variance, weight].map((tensor) => tensor.handle.share());
    const [m, v, w] = saved;
    return {
      name: 'predict',
      inputs: [mean, variance, weight],
      outputs: [prior.mean, prior.variance],
      saved,
      backward({ grads: [dmean, dvar] }) {
        if (!dmean && !dvar) return [null, null, null];
        const zeros =
          dmean && dvar ? null : native.full(mean.device.native, (dmean ?? dvar!).shape, 'float32', 'plain', 0);
        const gradients = native.transitionBackward(
          m!,
          v!,
          w!,
          splits,
          height,
          width,
          shape,
          dmean ?? zeros!,
          dvar ?? zeros!,
        );
        zeros?.dispose();
        return [gradients.dmean, gradients.dvar, gradients.dw];
      },
    };
  });
  return prior;
}
