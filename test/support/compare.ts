import type { ExecutionContext } from 'ava';

/** Unit roundoff of float32: an operation's result is off by at most this, relatively. */
export const ROUNDOFF = 2 ** -24;

/**
 * All tolerances of the op tests. They bound |actual - expected| relative to the largest expected value, because that is
 * how rounding errors of sums scale; inputs are exact in float32, references are float64.
 */
export const tolerance = {
  /** Values are moved, selected or rounded once from the exact result. */
  exact: ROUNDOFF,
  /** A handful of float32 operations one after the other. */
  elementwise: 8 * ROUNDOFF,
  /**
   * `terms` products summed in float32 in any order. Of independent terms the partial sums grow like sqrt(k), so the
   * roundings add up to about ROUNDOFF·terms/sqrt(2) while the largest of the results is some 3·sqrt(terms):
   * ROUNDOFF·sqrt(terms)/4. Sixteen times that for the tail over many results, and the operations around the sum.
   */
  sum: (terms: number) => (8 + 4 * Math.sqrt(terms)) * ROUNDOFF,
  /**
   * Moments and normalizations: sums of float32 products in chunks of at most 128 values (two accumulators), the rest in
   * double, then a few operations with factors that were rounded themselves.
   */
  normalization: (8 + 4 * Math.sqrt(64)) * ROUNDOFF,
  /** A network block: errors of its layers add up, and each normalization divides by a deviation. */
  block: 64 * 8 * ROUNDOFF,
} as const;

/**
 * Checks values against a reference; NaN and infinities must be where the reference has them.
 *
 * @param scale what errors are relative to at least, where too few values are expected to show their natural size
 */
export function closeTo(
  t: ExecutionContext,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  relative: number,
  label: string,
  scale = 0,
): void {
  t.is(actual.length, expected.length, `${label}: number of values`);
  let largest = scale;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) largest = Math.max(largest, Math.abs(expected[i]!));
  }
  let worst = 0;
  let at = -1;
  for (let i = 0; i < expected.length; i++) {
    const finite = Number.isFinite(expected[i]);
    const error = finite ? Math.abs(actual[i]! - expected[i]!) : Object.is(actual[i], expected[i]) ? 0 : Infinity;
    // Not `error > worst`: NaN must count.
    if (!(error <= worst)) [worst, at] = [error, i];
    if (Number.isNaN(error)) break;
  }
  if (worst <= relative * largest) {
    t.pass();
    return;
  }
  const off = `${(worst / largest).toExponential(2)} of the largest value, allowed ${relative.toExponential(2)}`;
  t.fail(`${label}: value ${at} of ${expected.length} is ${actual[at]}, expected ${expected[at]}: off by ${off}`);
}

/** The bits of float32 values, to compare runs for equality. */
export function bits(values: ArrayLike<number>): string {
  const floats = Float32Array.from(values);
  return Buffer.from(floats.buffer).toString('hex');
}
