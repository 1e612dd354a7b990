import { concat, map, type NdArray, ndarray, sizes, slice, sum, zip } from './array.js';
import type { Scaling, Sides, Statistics } from './reference.js';
import * as plain from './reference.js';

/** Takes a value out of the differentiation: later evaluations get that of the first. */
export type Hold = <T>(value: T) => T;

export interface KalmanCase extends Scaling {
  splits: number;
  /** Per channel, or one for all. */
  gain: NdArray | number;
  guard?: number;
  prior: Statistics | null;
  /** z of the virtual samples behind the output. */
  noise?: NdArray | null;
}

export interface KalmanReference {
  output: NdArray;
  posterior: Statistics;
  observation: Statistics;
  ratio: number;
  used: boolean;
}

/** The filter's fusion of prior and observation; `used` tells whether the guard let the prior pass. */
function fuse(observation: Statistics, options: KalmanCase): { posterior: Statistics; ratio: number; used: boolean } {
  const { prior, gain, guard = 100 } = options;
  if (!prior) throw new Error('fuse: no prior');
  const cells = prior.mean.data.length;
  const ratio = sum(zip(prior.variance, observation.variance, (pv, v) => pv / v).data) / cells;
  if (!(ratio < guard)) return { posterior: observation, ratio, used: false };
  const channels = cells / options.splits;
  const posterior = { mean: ndarray([cells]), variance: ndarray([cells]) };
  for (let i = 0; i < cells; i++) {
    const p = 1 - (typeof gain === 'number' ? gain : gain.data[i % channels]!);
    const [pm, pv] = [prior.mean.data[i]!, prior.variance.data[i]!];
    const [mu, v] = [observation.mean.data[i]!, observation.variance.data[i]!];
    posterior.mean.data[i] = p * pm + (1 - p) * mu;
    posterior.variance.data[i] = p * pv + (1 - p) * v + p * (1 - p) * (mu - pm) ** 2;
  }
  return { posterior, ratio, used: true };
}

/**
 * Kalman normalization of real samples. Without a prior, batch normalization whose statistics are handed on with the
 * unbiased variance and without a gradient.
 */
export function kalmanNorm(x: NdArray, options: KalmanCase, hold: Hold): KalmanReference {
  const { splits, prior, noise } = options;
  const observation = plain.moments(x, splits);
  const count = x.data.length / observation.mean.data.length;
  const unbiased = map(observation.variance, (v) => (v * count) / Math.max(count - 1, 1));
  const fused = prior
    ? fuse(observation, options)
    : { posterior: hold({ mean: observation.mean, variance: unbiased }), ratio: 0, used: false };
  let output = plain.normalize(x, prior ? fused.posterior : observation, options);
  if (noise) output = concat(output, samplePrior(fused.posterior, noise));
  return { output, observation, ...fused };
}

/** As {@link kalmanNorm}, of real samples with one virtual sample a split behind them, whose moments are the prior. */
export function carriedKalmanNorm(x: NdArray, options: Omit<KalmanCase, 'prior'>, hold: Hold): KalmanReference {
  const real = x.shape[0]! - options.splits;
  const prior = plain.moments(slice(x, real, x.shape[0]!), options.splits);
  return kalmanNorm(slice(x, 0, real), { ...options, prior }, hold);
}

/** relu(z·sqrt(v) + m), z of shape [S, C, H, W]. */
export function samplePrior({ mean, variance }: Statistics, noise: NdArray): NdArray {
  const [, , h, w] = sizes(noise);
  const at = (index: number) => Math.floor(index / (h * w));
  return plain.relu(map(noise, (z, i) => z * Math.sqrt(variance.data[at(i)]!) + mean.data[at(i)]!));
}

export function predict(
  belief: Statistics,
  weight: NdArray,
  noise: NdArray,
  stride: readonly [number, number],
  sides: Sides,
): Statistics {
  return plain.moments(plain.conv2d(samplePrior(belief, noise), weight, stride, sides), noise.shape[0]!);
}

/** A vector of S·C values with zero channels around each split's, or around the whole, as the reference code does. */
export function padVector(x: NdArray, splits: number, before: number, after: number, aligned: boolean): NdArray {
  const channels = x.data.length / splits;
  const wide = before + channels + after;
  const y = ndarray([splits * wide]);
  x.data.forEach((value, i) => {
    const target = aligned ? Math.floor(i / channels) * wide + before + (i % channels) : splits * before + i;
    y.data[target] = value;
  });
  return y;
}

export function padBelief(belief: Statistics, splits: number, before: number, after: number, aligned: boolean) {
  const pad = (x: NdArray) => padVector(x, splits, before, after, aligned);
  return { mean: pad(belief.mean), variance: pad(belief.variance) };
}

export function addBeliefs(a: Statistics, b: Statistics): Statistics {
  return { mean: plain.add(a.mean, b.mean), variance: plain.add(a.variance, b.variance) };
}

export interface BlockCase {
  x: NdArray;
  prior: Statistics;
  /** The network's first block has normalized samples and the statistics of the layer before, and no norm1. */
  first?: boolean;
  conv1: NdArray;
  conv2: NdArray;
  norm1: Scaling;
  norm2: Scaling;
  /** z for the images that go through the first and the second convolution. */
  noise: readonly [NdArray, NdArray];
  splits: number;
  gain: number;
  widens: boolean;
  aligned: boolean;
}

/** A residual block of the Kalman network, real and virtual path apart, as the authors' code has it. */
export function kalmanBlock(c: BlockCase, hold: Hold): { x: NdArray; prior: Statistics } {
  const { splits, gain, widens } = c;
  const [, channels, height, width] = sizes(c.x);
  const stride = widens ? 2 : 1;
  const step1 = c.first
    ? { output: c.x, posterior: c.prior }
    : kalmanNorm(c.x, { ...c.norm1, relu: true, splits, gain, prior: c.prior }, hold);
  const sides1 = plain.samePadding(height, width, 3, stride);
  const prior1 = predict(step1.posterior, c.conv1, c.noise[0], [stride, stride], sides1);
  const inner = plain.conv2d(step1.output, c.conv1, [stride, stride], sides1);
  const step2 = kalmanNorm(inner, { ...c.norm2, relu: true, splits, gain, prior: prior1 }, hold);
  const sides2 = plain.samePadding(inner.shape[2]!, inner.shape[3]!, 3, 1);
  const prior2 = predict(step2.posterior, c.conv2, c.noise[1], [1, 1], sides2);
  const branch = plain.conv2d(step2.output, c.conv2, [1, 1], sides2);
  const half = channels / 2;
  const shortcut = widens ? plain.padChannels(plain.avgPool2d(c.x, 2), half, half) : c.x;
  const belief = widens ? padBelief(c.prior, splits, half, half, c.aligned) : c.prior;
  return { x: plain.add(shortcut, branch), prior: addBeliefs(belief, prior2) };
}
