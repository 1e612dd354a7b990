import { record } from '../autograd.js';
import type { Device } from '../device.js';
import { check } from '../errors.js';
import { Generator } from '../generator.js';
import { type Handle, type KalmanInput, type KalmanOptions, type Maybe, native } from '../native.js';
import { Tensor } from '../tensor.js';
import type { Affine, NormOptions } from './batch-norm.js';
import { Belief } from './belief.js';
import { within } from './elementwise.js';
import { attachMoments, type Moments } from './moments.js';
import type { Noise } from './transition.js';

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
}

/** Result of {@link kalmanNorm}. */
export interface KalmanNormResult {
  /** The normalized samples, then the virtual ones where `sample` was asked for. */
  output: Tensor;
  /** The filtered statistics; without a prior the batch's, with the unbiased variance and without a gradient. */
  posterior: Belief;
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
  const { splits = 1, gain, guard = 100, epsilon = 1e-5, relu = false, sample = null } = options;
  const belief = prior instanceof Belief ? prior : null;
  check(
    !belief || belief.splits === splits,
    'SHAPE_MISMATCH',
    () => `kalmanNorm: prior must have ${splits} splits, got ${belief?.splits}`,
  );
  const known = x.moments?.splits === splits && prior !== 'carried' ? x.moments : null;
  const gains = typeof gain === 'number' ? null : gain;
  const nativeOptions: KalmanOptions = {
    splits,
    tail: prior === 'carried',
    sample: sample !== null,
    gain: typeof gain === 'number' ? gain : 0,
    guard,
    epsilon,
    relu,
  };
  const tensors = {
    x,
    gamma: affine.gamma,
    beta: affine.beta,
    gain: gains,
    priorMean: belief?.mean ?? null,
    priorVar: belief?.variance ?? null,
    observationMean: known?.mean ?? null,
    observationVar: known?.variance ?? null,
    noise: sample instanceof Tensor ? sample : null,
  };
  const input: KalmanInput = {
    ...mapValues(tensors, (tensor) => tensor?.handle ?? null),
    x: x.handle,
    random: sample instanceof Generator ? sample.next() : null,
  };
  const result = native.kalmanUpdate(input, nativeOptions);
  const wrap = (handle: Maybe) => new Tensor(x.device, handle!);
  const output = wrap(result.y);
  const posterior = new Belief(wrap(result.posteriorMean), wrap(result.posteriorVar), splits);
  const observation = { mean: wrap(result.observationMean), variance: wrap(result.observationVar) };
  const ratio = wrap(result.ratio);
  const hasPrior = prior !== null;
  record([x, affine.gamma, affine.beta, gains, tensors.priorMean, tensors.priorVar], () => {
    const savedInput = {
      ...mapValues(tensors, (tensor) => tensor?.handle.share() ?? null),
      random: null,
    } as KalmanInput;
    const savedResult = mapValues(result, (handle) => handle?.share() ?? null) as typeof result;
    return {
      name: 'kalmanNorm',
      inputs: [x, affine.gamma, affine.beta, gains, tensors.priorMean, tensors.priorVar],
      // Without a prior, the statistics handed on carry no gradient.
      outputs: hasPrior ? [output, posterior.mean, posterior.variance] : [output],
      saved: [...Object.values(savedInput), ...Object.values(savedResult)].filter((handle) => handle !== null),
      absorbs: prior === 'carried' ? [] : [0],
      backward({ grads: [given, dmean = null, dvar = null], existing: [elsewhere], room }) {
        const dy = given ?? native.full(x.device.native, savedResult.y.shape, 'float32', savedResult.y.format, 0);
        const gradients = native.kalmanUpdateBackward(
          savedInput,
          savedResult,
          dy,
          dmean,
          dvar,
          nativeOptions,
          elsewhere ?? null,
          room[0] ?? 0,
        );
        if (!given) dy.dispose();
        const { dx, dgamma, dbeta, dgain, dpriorMean, dpriorVar } = gradients;
        return [dx, dgamma, dbeta, dgain, dpriorMean, dpriorVar];
      },
    };
  });
  result.priorMean?.dispose();
  result.priorVar?.dispose();
  return { output, posterior, observation, ratio };
}

function mapValues<T extends object, R>(object: T, map: (value: T[keyof T]) => R): { [K in keyof T]: R } {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)])) as { [K in keyof T]: R };
}

/**
 * The Kalman filter's update: fuses a prior with the batch statistics of x, without normalizing. See {@link kalmanNorm}.
 */
export function update(x: Tensor, prior: Belief | null, options: KalmanNormOptions): Belief {
  const { output, posterior, observation, ratio } = kalmanNorm(x, prior, { gamma: null, beta: null }, options);
  for (const tensor of [output, observation.mean, observation.variance, ratio]) tensor.dispose();
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
  const { splits } = belief;
  const real = shortcut.shape[0] as number;
  const { device } = branch;
  check(
    branch.shape[0] === real + splits,
    'SHAPE_MISMATCH',
    () => `kalmanResidual: branch must have ${real} real and ${splits} virtual samples, got ${branch.shape[0]}`,
  );
  const tail = branch.handle.samples(real, splits);
  const head = branch.handle.samples(0, real);
  const drawn = native.moments(tail, splits);
  const sum = native.addMoments(shortcut.handle, head, splits, true);
  head.dispose();
  const output = new Tensor(device, sum.out);
  attachMoments(output, splits, sum);
  const prior = new Belief(
    new Tensor(device, native.add(belief.mean.handle, drawn.mean)),
    new Tensor(device, native.add(belief.variance.handle, drawn.var)),
    splits,
  );
  // The branch's gradient is the output's with the virtual samples' behind it: backward of the next layer leaves room.
  output.gradientRoom = splits;
  record([shortcut, belief.mean, belief.variance, branch], () => {
    const images = tail.share();
    const center = drawn.mean.share();
    return {
      name: 'kalmanResidual',
      inputs: [shortcut, belief.mean, belief.variance, branch],
      outputs: [output, prior.mean, prior.variance],
      saved: [images, center],
      backward({ grads: [given, dmean, dvar] }) {
        const zeros = (shape: readonly number[], format: 'plain' | 'activation') =>
          native.full(device.native, shape, 'float32', format, 0);
        const dy = given?.share() ?? zeros([real, ...images.shape.slice(1)], 'activation');
        const dm = dmean?.share() ?? zeros(center.shape, 'plain');
        const dv = dvar?.share() ?? zeros(center.shape, 'plain');
        const dbranch = dy.room >= splits ? native.grow(dy, splits) : copyWithRoom(device, dy, splits);
        within(dbranch, real, splits, (part) => native.momentsBackward(images, splits, center, dm, dv, part).dispose());
        return [dy, dm, dv, dbranch];
      },
    };
  });
  tail.dispose();
  drawn.mean.dispose();
  drawn.var.dispose();
  return { output, prior };
}

/** A copy of an activation, with uninitialised samples behind it. */
function copyWithRoom(device: Device, from: Handle, extra: number): Handle {
  const [count = 0, ...rest] = from.shape;
  const grown = native.empty(device.native, [count + extra, ...rest], 'float32', 'activation', 0);
  within(grown, 0, count, (part) => native.copy(from, part));
  return grown;
}
