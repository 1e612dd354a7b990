import { type NdArray, ndarray, sum } from './array.js';
import * as plain from './reference.js';
import { addBeliefs, type BlockCase, type Hold, kalmanNorm, padBelief } from './reference-kalman.js';

/**
 * Float64 references of the analytic transition, from definitions: integrals over the normal density instead of closed
 * forms, and the convolution written out as the linear map that it is.
 */

/** Moments of max(mean + std·z, 0), z standard normal, with their derivatives. */
export interface Rectified {
  mean: number;
  variance: number;
  meanByMean: number;
  meanByVariance: number;
  varianceByMean: number;
  varianceByVariance: number;
}

/** Nodes and weights of the double exponential rule u = exp(k - exp(-k)) for the integral over u > 0. */
const STEP = 1 / 32;
const RULE = Array.from({ length: Math.round(8.4 / STEP) }, (_, i) => {
  const k = -4 + i * STEP;
  const u = Math.exp(k - Math.exp(-k));
  return { u, weight: STEP * u * (1 + Math.exp(-k)) };
});

/** Below, the normal density is less than 1e-43. */
const LOWEST = -14;

/** Integral of body(z, z - from)·density(z) over z > from. */
function integrate(from: number, body: (z: number, beyond: number) => number): number {
  const start = Math.max(from, LOWEST);
  let total = 0;
  for (const { u, weight } of RULE) {
    const z = start + u;
    const density = Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
    if (density > 0) total += weight * density * body(z, start - from + u);
  }
  return total;
}

const known = new Map<string, Rectified>();

/**
 * By integrals that don't cancel: sums of positive terms, for the variance that of the squared distance from the mean.
 * Above 0 the mean is t + E max(-z - t, 0), because max(x, 0) = x + max(-x, 0).
 */
export function rectified(mean: number, variance: number): Rectified {
  const key = `${mean} ${variance}`;
  const old = known.get(key);
  if (old) return old;
  const std = Math.sqrt(variance);
  const t = mean / std;
  const excess = t > 0 ? integrate(t, (_, beyond) => beyond) : 0;
  const unit = t > 0 ? t + excess : integrate(-t, (_, beyond) => beyond);
  const above = integrate(-t, () => 1);
  const below = integrate(t, () => 1);
  /** z + t - unit */
  const distance = (z: number, beyond: number) => (t > 0 ? z - excess : beyond - unit);
  const result = {
    mean: std * unit,
    variance: variance * (integrate(-t, (z, beyond) => distance(z, beyond) ** 2) + unit * unit * below),
    // Derivatives under the integral: of a = mean + std·z where it is positive, 1 and z.
    meanByMean: above,
    // What lies between -|t| and |t| cancels.
    meanByVariance: integrate(Math.abs(t), (z) => z) / (2 * std),
    // E (a - Ea) is 0, so above the cut it is minus what it is at 0.
    varianceByMean: 2 * std * unit * below,
    varianceByVariance: integrate(-t, (z, beyond) => distance(z, beyond) * z),
  };
  if (known.size > 1e5) known.clear();
  known.set(key, result);
  return result;
}

export interface Geometry {
  splits: number;
  height: number;
  width: number;
  stride: readonly [number, number];
  sides: plain.Sides;
  /** Whether the input is rectified before; default true. */
  rectify?: boolean;
}

/** What the expected moments over the positions of an image consist of, vectors [splits·out]. */
export interface Terms {
  mean: NdArray;
  /** Mean over the positions of the variances. */
  ofValues: NdArray;
  /** Variance over the positions of the means. */
  ofMeans: NdArray;
  /** Variance of the mean over the positions. */
  ofSpatialMean: NdArray;
}

/** With y_p = Σ W[p, q]·a_q over all inputs q (channel and position), a_q independent. */
export function transitionTerms(belief: plain.Statistics, weight: NdArray, geometry: Geometry): Terms {
  const { splits, height, width, stride, sides, rectify = true } = geometry;
  const [outer, inner, kernelHeight, kernelWidth] = weight.shape as [number, number, number, number];
  const [top, left, bottom, right] = sides;
  const rows = Math.floor((height + top + bottom - kernelHeight) / stride[0]) + 1;
  const columns = Math.floor((width + left + right - kernelWidth) / stride[1]) + 1;
  const positions = rows * columns;
  const cells = [splits * outer];
  const terms = {
    mean: ndarray(cells),
    ofValues: ndarray(cells),
    ofMeans: ndarray(cells),
    ofSpatialMean: ndarray(cells),
  };
  for (let cell = 0; cell < splits * outer; cell++) {
    const [split, o] = [Math.floor(cell / outer), cell % outer];
    const inputs = Array.from({ length: inner }, (_, i) => {
      const at = split * inner + i;
      const [mean, variance] = [belief.mean.data[at]!, belief.variance.data[at]!];
      return rectify ? rectified(mean, variance) : { mean, variance };
    });
    const means = new Float64Array(positions);
    const variances = new Float64Array(positions);
    const shares = new Float64Array(inner * height * width);
    for (let p = 0; p < positions; p++) {
      for (let tap = 0; tap < kernelHeight * kernelWidth; tap++) {
        const y = Math.floor(p / columns) * stride[0] - top + Math.floor(tap / kernelWidth);
        const x = (p % columns) * stride[1] - left + (tap % kernelWidth);
        if (y < 0 || y >= height || x < 0 || x >= width) continue;
        for (let i = 0; i < inner; i++) {
          const w = weight.data[(o * inner + i) * kernelHeight * kernelWidth + tap]!;
          means[p]! += w * inputs[i]!.mean;
          variances[p]! += w * w * inputs[i]!.variance;
          shares[(i * height + y) * width + x]! += w / positions;
        }
      }
    }
    const mean = sum(means) / positions;
    terms.mean.data[cell] = mean;
    terms.ofValues.data[cell] = sum(variances) / positions;
    terms.ofMeans.data[cell] = sum(means.map((value) => (value - mean) ** 2)) / positions;
    terms.ofSpatialMean.data[cell] = sum(
      shares.map((share, q) => share * share * inputs[Math.floor(q / (height * width))]!.variance),
    );
  }
  return terms;
}

/** Expected mean and expected biased variance over the positions of what a convolution makes of a rectified belief. */
export function predictAnalytic(belief: plain.Statistics, weight: NdArray, geometry: Geometry): plain.Statistics {
  const { mean, ofValues, ofMeans, ofSpatialMean } = transitionTerms(belief, weight, geometry);
  const data = ofValues.data.map((value, i) => value + ofMeans.data[i]! - ofSpatialMean.data[i]!);
  return { mean, variance: { shape: mean.shape, data } };
}

/** As {@link predictAnalytic}, of the whole population: over the positions of all images. */
export function propagate(belief: plain.Statistics, weight: NdArray, geometry: Geometry): plain.Statistics {
  const { mean, ofValues, ofMeans } = transitionTerms(belief, weight, geometry);
  return { mean, variance: { shape: mean.shape, data: ofValues.data.map((value, i) => value + ofMeans.data[i]!) } };
}

/** A residual block of the Kalman network with the analytic transition. */
export function analyticBlock(c: Omit<BlockCase, 'noise'>, hold: Hold): { x: NdArray; prior: plain.Statistics } {
  const { splits, gain, widens, prior } = c;
  const filter = { splits, gain, relu: true };
  const through = (weight: NdArray, x: NdArray, belief: plain.Statistics, stride: number) => {
    const [height, width] = [x.shape[2]!, x.shape[3]!];
    const sides = plain.samePadding(height, width, 3, stride);
    const geometry: Geometry = { splits, height, width, stride: [stride, stride], sides };
    return { x: plain.conv2d(x, weight, geometry.stride, sides), prior: predictAnalytic(belief, weight, geometry) };
  };
  const start = c.first ? { output: c.x, posterior: prior } : kalmanNorm(c.x, { ...c.norm1, ...filter, prior }, hold);
  const inner = through(c.conv1, start.output, start.posterior, widens ? 2 : 1);
  const middle = kalmanNorm(inner.x, { ...c.norm2, ...filter, prior: inner.prior }, hold);
  const branch = through(c.conv2, middle.output, middle.posterior, 1);
  const half = c.x.shape[1]! / 2;
  const shortcut = widens ? plain.padChannels(plain.avgPool2d(c.x, 2), half, half) : c.x;
  const belief = widens ? padBelief(prior, splits, half, half, c.aligned) : prior;
  return { x: plain.add(shortcut, branch.x), prior: addBeliefs(belief, branch.prior) };
}
