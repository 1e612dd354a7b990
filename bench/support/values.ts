import { HostRandom } from '../../lib/index.js';

/** Number of values of a shape. */
export function volume(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

let table: Float32Array | null = null;

/**
 * Normally distributed values. They repeat after 65,537: a prime, so that rows and samples differ, and few enough to be
 * made quickly for tensors of 100 MB.
 */
export function normalValues(count: number): Float32Array {
  if (!table) {
    const random = new HostRandom(1);
    table = Float32Array.from({ length: 65537 }, () => random.normal());
  }
  const values = new Float32Array(count);
  for (let start = 0; start < count; start += table.length) {
    values.set(table.subarray(0, Math.min(table.length, count - start)), start);
  }
  return values;
}
