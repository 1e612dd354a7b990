import { map, type NdArray, sizes, sum } from './array.js';
import { threshold } from './reference.js';

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
