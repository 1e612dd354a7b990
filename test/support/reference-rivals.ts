import { map, type NdArray, sizes, sum } from './array.js';
import { groupNorm, moments, normalize, relu, type Statistics, threshold } from './reference.js';
import type { Hold } from './reference-kalman.js';

/** Float64 references of what other methods than Kalman normalization do, written from the papers' equations. */

/** Qiao et al. 2019, eq. 4 to 5; with a gain Brock et al. 2021, eq. 4. */
export function weightStandardize(w: NdArray, options: { epsilon: number; gain?: number }): NdArray {
  const size = w.data.length / w.shape[0]!;
  const factor = options.gain === undefined ? 1 : options.gain / Math.sqrt(size);
  const moments = Array.from({ length: w.shape[0]! }, (_, o) => {
    const values = w.data.subarray(o * size, (o + 1) * size);
    const mean = sum(values) / size;
    return { mean, variance: sum(values.map((value) => (value - mean) ** 2)) / size };
  });
  return map(w, (value, i) => {
    const { mean, variance } = moments[Math.floor(i / size)]!;
    return (factor * (value - mean)) / Math.sqrt(variance + options.epsilon);
  });
}

/** The mean square of deviations from `center` (default: from the mean) of runs of `size` values, one after the other. */
function spreads(x: NdArray, size: number, center?: number): number[] {
  return Array.from({ length: x.data.length / size }, (_, i) => {
    const values = x.data.subarray(i * size, (i + 1) * size);
    const mean = center ?? sum(values) / size;
    return sum(values.map((value) => (value - mean) ** 2)) / size;
  });
}

/** Singh and Krishnan 2020, eq. 1 to 3. */
export function filterResponseNorm(
  x: NdArray,
  { gamma, beta, tau, epsilon }: { gamma: NdArray; beta: NdArray; tau: NdArray; epsilon: number },
): NdArray {
  const [, channels, height, width] = sizes(x);
  const pixels = height * width;
  const powers = spreads(x, pixels, 0);
  return map(x, (value, i) => {
    const row = Math.floor(i / pixels);
    const [g, b, t] = [gamma, beta, tau].map(({ data }) => data[row % channels]!) as [number, number, number];
    return threshold((g * value) / Math.sqrt(powers[row]! + epsilon) + b, t);
  });
}

/** Liu et al. 2020, table 2. */
export function evoNormS0(
  x: NdArray,
  { gamma, beta, v, groups, epsilon }: { gamma: NdArray; beta: NdArray; v: NdArray; groups: number; epsilon: number },
): NdArray {
  const [, channels, height, width] = sizes(x);
  const size = (channels / groups) * height * width;
  const variances = spreads(x, size);
  return map(x, (value, i) => {
    const c = Math.floor(i / (height * width)) % channels;
    const gated = value / (1 + Math.exp(-v.data[c]! * value));
    return (gated / Math.sqrt(variances[Math.floor(i / size)]! + epsilon)) * gamma.data[c]! + beta.data[c]!;
  });
}

/** Ioffe 2017, algorithm 1: what has no gradient is held. */
export function batchRenorm(
  x: NdArray,
  options: {
    gamma: NdArray;
    beta: NdArray;
    running: Statistics;
    splits: number;
    epsilon: number;
    rMax: number;
    dMax: number;
    relu?: boolean;
  },
  hold: Hold,
): NdArray {
  const { gamma, beta, running, splits, epsilon, rMax, dMax, relu: rectified = false } = options;
  const [samples, channels, height, width] = sizes(x);
  const statistics = moments(x, splits);
  const deviation = (variance: number) => Math.sqrt(variance + epsilon);
  const between = (least: number, value: number, most: number) => Math.min(Math.max(value, least), most);
  const corrections = hold(
    Array.from(statistics.mean.data, (mean, i) => {
      const c = i % channels;
      const usual = deviation(running.variance.data[c]!);
      return {
        r: between(1 / rMax, deviation(statistics.variance.data[i]!) / usual, rMax),
        d: between(-dMax, (mean - running.mean.data[c]!) / usual, dMax),
      };
    }),
  );
  const y = map(normalize(x, statistics, { epsilon }), (value, i) => {
    const row = Math.floor(i / (height * width));
    const c = row % channels;
    const split = Math.floor(row / channels / (samples / splits));
    const { r, d } = corrections[split * channels + c]!;
    return (value * r + d) * gamma.data[c]! + beta.data[c]!;
  });
  return rectified ? relu(y) : y;
}

/** Qiao et al. 2019, algorithm 1: running averages, which have no gradient, then groups of channels. */
export function batchChannelNorm(
  x: NdArray,
  options: {
    batchGamma: NdArray;
    batchBeta: NdArray;
    gamma: NdArray;
    beta: NdArray;
    averages: Statistics;
    groups: number;
    epsilon: number;
    relu?: boolean;
  },
): NdArray {
  const { batchGamma, batchBeta, averages, groups, ...own } = options;
  const estimated = normalize(x, averages, { gamma: batchGamma, beta: batchBeta, epsilon: own.epsilon });
  return groupNorm(estimated, groups, own);
}

/** Running averages after a batch: the mean over its splits' statistics moves them. */
export function averagesAfter(x: NdArray, running: Statistics, splits: number, momentum: number): Statistics {
  const statistics = moments(x, splits);
  const channels = running.mean.data.length;
  const moved = (old: NdArray, observed: NdArray) =>
    map(old, (value, c) => {
      const ofSplits = observed.data.filter((_, i) => i % channels === c);
      return value + momentum * (sum(ofSplits) / splits - value);
    });
  return {
    mean: moved(running.mean, statistics.mean),
    variance: moved(running.variance, statistics.variance),
  };
}

/** What moving average batch normalization carries from micro-batch to micro-batch: newest last, [C] each. */
export interface MovingAverages {
  squares: NdArray[];
  products: NdArray[];
  running: NdArray;
  microBatches: number;
}

/**
 * Yan et al. 2020, algorithm 2 with the constants of the authors' code, of one micro-batch: moves `state`.
 *
 * @param dy the output's gradient, which the averages of the backward pass depend on
 */
export function movingAverageNorm(
  x: NdArray,
  dy: NdArray,
  state: MovingAverages,
  options: { gamma: NdArray; beta: NdArray; epsilon: number; window: number; warmUp: number; momentum: number },
): { y: NdArray; dx: NdArray; dgamma: NdArray; dbeta: NdArray } {
  const { gamma, beta, epsilon, window, warmUp, momentum } = options;
  const [samples, channels, height, width] = sizes(x);
  const channelOf = (i: number) => Math.floor(i / (height * width)) % channels;
  const sumsOf = (value: (i: number) => number) => {
    const sums = { shape: [channels], data: new Float64Array(channels) };
    for (let i = 0; i < x.data.length; i++) sums.data[channelOf(i)]! += value(i);
    return sums;
  };
  const count = samples * height * width;
  state.microBatches++;
  const warm = state.microBatches > window && state.microBatches >= warmUp;
  const average = (kept: NdArray[], own: NdArray) => {
    kept.push(own);
    const last = kept.slice(-window);
    return warm ? map(own, (_, c) => sum(last.map(({ data }) => data[c]!)) / window) : own;
  };
  const square = average(
    state.squares,
    sumsOf((i) => x.data[i]! ** 2 / count),
  );
  const deviation = map(square, (value) => Math.sqrt(value + epsilon));
  const renormed = state.microBatches > Math.max(1000, warmUp);
  const r = map(deviation, (value, c) =>
    renormed ? Math.min(Math.max(value / Math.sqrt(state.running.data[c]! + epsilon), 1 / 5), 5) : 1,
  );
  state.running = map(state.running, (value, c) => (1 - momentum) * value + momentum * square.data[c]!);
  const z = map(x, (value, i) => value / deviation.data[channelOf(i)]!);
  const y = map(z, (value, i) => {
    const c = channelOf(i);
    return value * r.data[c]! * gamma.data[c]! + beta.data[c]!;
  });
  const g = map(dy, (value, i) => value * gamma.data[channelOf(i)]! * r.data[channelOf(i)]!);
  const product = average(
    state.products,
    sumsOf((i) => (g.data[i]! * z.data[i]!) / count),
  );
  const dx = map(g, (value, i) => {
    const c = channelOf(i);
    return (value - z.data[i]! * product.data[c]!) / deviation.data[c]!;
  });
  return {
    y,
    dx,
    dgamma: sumsOf((i) => dy.data[i]! * z.data[i]! * r.data[channelOf(i)]!),
    dbeta: sumsOf((i) => dy.data[i]!),
  };
}

/** Yan et al. 2020: weights less the mean of their output's. */
export function weightCenter(w: NdArray): NdArray {
  const size = w.data.length / w.shape[0]!;
  return map(w, (value, i) => {
    const from = i - (i % size);
    return value - sum(w.data.subarray(from, from + size)) / size;
  });
}

/** Brock et al. 2021 (normalizer-free ResNets), eq. 1 and 4: what stands where others normalize. */
export function scaledAffine(
  x: NdArray,
  options: { gamma?: NdArray; beta?: NdArray; factor: number; relu?: boolean },
): NdArray {
  const { gamma, beta, factor, relu: rectified = false } = options;
  const [, channels, height, width] = sizes(x);
  const y = map(x, (value, i) => {
    const c = Math.floor(i / (height * width)) % channels;
    return factor * ((gamma?.data[c] ?? 1) * value + (beta?.data[c] ?? 0));
  });
  return rectified ? relu(y) : y;
}

/** Brock et al. 2021 (high-performance networks), eq. 3: gradients of one output's weights. */
export function clipAdaptively(weights: readonly number[], gradients: readonly number[], clipping: number): number[] {
  const norm = (values: readonly number[]) => Math.sqrt(sum(values.map((value) => value ** 2)));
  const limit = clipping * Math.max(norm(weights), 1e-3);
  const own = norm(gradients);
  return gradients.map((g) => (own > limit ? (g * limit) / own : g));
}
