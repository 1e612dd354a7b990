import { map, type NdArray, sum } from './array.js';

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
