import { checkShape, shown } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom } from '../random.js';
import { valuesOf } from '../shape.js';

/** Options of {@link varianceScaling}. */
export interface VarianceScaling {
  /** Variance times fan; default 2 (He et al. 2015, for ReLU). */
  scale?: number;
  /** Which fan to divide by; default `out`. */
  fan?: 'in' | 'out';
  /**
   * What `scale / fan` is the variance of: the normal distribution `before` it is cut at two standard deviations, as
   * TensorFlow did in 2018 (default), or the truncated values, as it does today.
   */
  variance?: 'before' | 'after';
}

const optionNames: OptionNames<VarianceScaling> = { scale: true, fan: true, variance: true };

/** Standard deviation of a standard normal variable cut at ±2. */
const TRUNCATED_STD = 0.8796256610342398;

/** Values of a normal distribution with mean 0, drawn anew beyond two standard deviations. */
export function truncatedNormal(random: HostRandom, count: number, std: number): Float32Array {
  check(std >= 0 && Number.isFinite(std), 'INVALID_ARGUMENT', `truncatedNormal: std must not be negative, got ${std}`);
  check(
    Number.isInteger(count) && count >= 0 && count < 2 ** 31,
    'INVALID_ARGUMENT',
    `truncatedNormal: expected less than 2^31 values, got ${count}`,
  );
  check(
    random instanceof HostRandom,
    'INVALID_ARGUMENT',
    () => `truncatedNormal: random must be a HostRandom, got ${shown(random)}`,
  );
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let z = random.normal();
    while (Math.abs(z) > 2) z = random.normal();
    values[i] = z * std;
  }
  return values;
}

/**
 * Truncated normal values for a filter [out, in, height, width] or a matrix [in, out], with variance scale / fan.
 */
export function varianceScaling(
  random: HostRandom,
  shape: readonly number[],
  options: VarianceScaling = {},
): Float32Array {
  checkOptions('varianceScaling', options, optionNames);
  checkShape('varianceScaling', shape);
  const { scale = 2, fan = 'out', variance = 'before' } = options;
  check(
    shape.length === 4 || shape.length === 2,
    'SHAPE_MISMATCH',
    `varianceScaling: expected a filter [out, in, height, width] or a matrix [in, out], got [${shape.join(', ')}]`,
  );
  const [first = 1, second = 1, height = 1, width = 1] = shape;
  const [fanIn, fanOut] = shape.length === 2 ? [first, second] : [second * height * width, first * height * width];
  const std = Math.sqrt(scale / (fan === 'in' ? fanIn : fanOut));
  const count = valuesOf(shape);
  return truncatedNormal(random, count, variance === 'after' ? std / TRUNCATED_STD : std);
}
