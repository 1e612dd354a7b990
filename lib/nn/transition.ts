import { check } from '../errors.js';
import { normalBelow, normalDensity } from '../normal.js';
import { Belief } from '../ops/belief.js';
import { add, mul, sub } from '../ops/broadcast.js';
import { bothSteps, type Conv2dOptions } from '../ops/conv2d.js';
import { neg, scale, sqrt, square } from '../ops/elementwise.js';
import { broadcastTo, concat, permute, slice } from '../ops/layout.js';
import { linear } from '../ops/linear.js';
import { reshape } from '../ops/memory.js';
import { type ObservedSlope, observedVariance } from '../ops/observed-variance.js';
import { propagate, propagateObserved, rectifyBelief } from '../ops/predict.js';
import type { Tensor } from '../tensor.js';

/** What is believed of the mean over `count` values of a channel, taken as independent, as a convolution takes them. @internal */
export function averaged(belief: Belief, count: number): Belief {
  const moments = rectifyBelief(belief);
  const result = new Belief(moments.mean, scale(moments.variance, 1 / count), belief.splits);
  if (moments !== belief) moments.variance.dispose();
  return result;
}

/** What is believed of `count` features of each channel, which are all as the channel is. @internal */
export function repeated({ mean, variance, splits, channels, rectified }: Belief, count: number): Belief {
  const [m, v] = [mean, variance].map((x) =>
    steps(
      reshape(x, [splits * channels, 1]),
      (column) => broadcastTo(column, [splits * channels, count]),
      (rows) => reshape(rows, [splits * channels * count]),
    ),
  ) as [Tensor, Tensor];
  return new Belief(m, v, splits, rectified);
}

/** What is believed of the channels of several beliefs, one behind the other. @internal */
export function sideBySide(beliefs: readonly Belief[]): Belief {
  const [{ splits, rectified }] = beliefs as [Belief];
  for (const belief of beliefs) {
    check(belief.splits === splits, 'SHAPE_MISMATCH', `Concat: expected ${splits} splits, got ${belief.splits}`);
  }
  const alike = beliefs.every((belief) => belief.rectified === rectified);
  const known = alike ? beliefs : beliefs.map(rectifyBelief);
  const joined = (pick: (belief: Belief) => Tensor) => {
    const rows = known.map((belief) => reshape(pick(belief), [splits, belief.channels]));
    const result = steps(concat(rows), (whole) => reshape(whole, [whole.size]));
    for (const row of rows) row.dispose();
    return result;
  };
  const result = new Belief(
    joined(({ mean }) => mean),
    joined(({ variance }) => variance),
    splits,
    alike && rectified,
  );
  for (const [i, belief] of known.entries()) if (belief !== beliefs[i]) belief.dispose();
  return result;
}

/** What is believed of values that are 0 with probability `rate`, and else divided by 1 - rate. @internal */
export function thinned(belief: Belief, rate: number): Belief {
  const moments = rectifyBelief(belief);
  const squares = square(moments.mean);
  const power = add(squares, moments.variance);
  const spread = scale(power, rate / (1 - rate));
  const variance = add(moments.variance, spread);
  // A mean that is handed on would be freed with the belief that went in.
  const mean = moments === belief ? scale(moments.mean, 1) : moments.mean;
  for (const used of [squares, power, spread]) used.dispose();
  if (moments !== belief) moments.variance.dispose();
  return new Belief(mean, variance, belief.splits);
}

/**
 * What is believed of max(x, 0) + slope·min(x, 0), for a Gaussian x: both parts are rectified Gaussians, of which one is
 * always 0, so that their covariance is minus the product of their means. A rectified x has no lower part.
 *
 * @internal
 */
export function throughLeakyRelu(belief: Belief, slope: number): Belief {
  if (belief.rectified) return belief;
  const { mean, variance, splits } = belief;
  const opposite = neg(mean);
  const above = rectifyBelief(new Belief(mean, variance, splits, true));
  const below = rectifyBelief(new Belief(opposite, variance, splits, true));
  const [lower, spread, product] = [
    scale(below.mean, slope),
    scale(below.variance, slope ** 2),
    mul(above.mean, below.mean),
  ];
  const parts = add(above.variance, spread);
  const covariance = scale(product, 2 * slope);
  const result = new Belief(sub(above.mean, lower), add(parts, covariance), splits);
  for (const used of [opposite, lower, spread, product, parts, covariance]) used.dispose();
  above.dispose();
  below.dispose();
  return result;
}

/**
 * What is believed of the largest of `count` values of a channel, taken as independent: mean and variance of the largest
 * of so many Gaussian values, as if it were Gaussian itself. Rectifying commutes with it.
 *
 * @internal
 */
export function largest({ mean, variance, splits, rectified }: Belief, count: number): Belief {
  const order = largestOfNormals(count);
  const deviation = sqrt(variance);
  const shift = scale(deviation, order.mean);
  const result = new Belief(add(mean, shift), scale(variance, order.variance), splits, rectified);
  for (const used of [deviation, shift]) used.dispose();
  return result;
}

/** Moments of the largest of `count` standard normal values, whose density is count·φ(x)·Φ(x)^(count - 1). */
function largestOfNormals(count: number): { mean: number; variance: number } {
  const step = 1 / 16;
  let [first, second] = [0, 0];
  // The trapezoidal rule, which is exact to rounding for functions as smooth as this.
  for (let x = -9; x <= 9; x += step) {
    const share = step * count * normalDensity(x) * normalBelow(x) ** (count - 1);
    first += x * share;
    second += x * x * share;
  }
  return { mean: first, variance: second - first ** 2 };
}

/**
 * What is believed of a convolution's result.
 *
 * @param observed what the variance's gradient is taken from; null for the closed form
 * @internal
 */
export function throughConv2d(
  belief: Belief,
  filter: Tensor,
  bias: Tensor | null,
  options: Conv2dOptions & { height: number; width: number },
  observed: ObservedSlope | null,
): Belief {
  const next = pushed(belief, filter, options, observed);
  if (!bias) return next;
  const { splits, channels } = next;
  const rows = reshape(next.mean, [splits, channels]);
  const sums = add(rows, bias);
  const shiftedMean = reshape(sums, [splits * channels]);
  for (const used of [next.mean, rows, sums]) used.dispose();
  return new Belief(shiftedMean, next.variance, splits);
}

/** What is believed of a convolution's result without its bias. */
function pushed(
  belief: Belief,
  filter: Tensor,
  options: Conv2dOptions & { height: number; width: number },
  observed: ObservedSlope | null,
): Belief {
  const { dilation = 1, groups = 1, ...windows } = options;
  const spread = dilated(filter, dilation);
  const dense = ungrouped(spread, groups);
  if (observed && dense === filter) return propagateObserved(belief, filter, windows, observed);
  const closed = propagate(belief, dense, windows);
  for (const made of new Set([spread, dense])) if (made !== filter) made.dispose();
  if (!observed) return closed;
  // What samples have shown belongs to the filter itself, not to the one with zeros.
  const result = new Belief(closed.mean, observedVariance(closed.variance, filter, belief, observed), closed.splits);
  closed.variance.dispose();
  return result;
}

/** A tensor behind which `count` zeros stand along an axis. */
function withZeros(x: Tensor, axis: number, count: number): Tensor {
  if (count === 0) return x;
  const zeros = x.device.zeros(x.shape.with(axis, count), { format: 'plain' });
  const result = concat([x, zeros], axis);
  zeros.dispose();
  return result;
}

/** A filter with the zeros between its taps that dilation stands for. */
function dilated(filter: Tensor, dilation: number | readonly [number, number]): Tensor {
  const [down, across] = bothSteps('dilation', dilation);
  if (down === 1 && across === 1) return filter;
  const [out = 1, inGroup = 1, height = 1, width = 1] = filter.shape;
  return steps(
    reshape(filter, [out * inGroup, height, 1, width, 1]),
    (taps) => withZeros(taps, 2, down - 1),
    (taps) => withZeros(taps, 4, across - 1),
    (cells) => reshape(cells, [out, inGroup, height * down, width * across], 'filter'),
    (whole) => slice(whole, 2, 0, (height - 1) * down + 1),
    (rows) => slice(rows, 3, 0, (width - 1) * across + 1),
  );
}

/**
 * A filter over all channels, with zeros for those of other groups. Rows of a group's values that are followed by one
 * zero more than a whole row holds shift, cut anew, by one group each: they become the blocks of a diagonal.
 */
function ungrouped(filter: Tensor, groups: number): Tensor {
  if (groups === 1) return filter;
  const [out = 1, inGroup = 1, height = 1, width = 1] = filter.shape;
  const [outGroup, values] = [out / groups, inGroup * height * width];
  return steps(
    reshape(filter, [groups, outGroup, values]),
    (parts) => permute(parts, [1, 0, 2]),
    (parts) => withZeros(parts, 2, groups * values),
    (rows) => reshape(rows, [outGroup, groups * (groups + 1) * values]),
    (rows) => slice(rows, 1, 0, groups * groups * values),
    (blocks) => reshape(blocks, [outGroup, groups, groups * values]),
    (blocks) => permute(blocks, [1, 0, 2]),
    (blocks) => reshape(blocks, [out, groups * inGroup, height, width], 'filter'),
  );
}

/** What comes of x, step by step; frees x and what lies between. */
function steps(x: Tensor, ...each: readonly ((x: Tensor) => Tensor)[]): Tensor {
  return each.reduce((current, step) => {
    const next = step(current);
    if (next !== current) current.dispose();
    return next;
  }, x);
}

/** What is believed of x·W + b, where the features of x are independent. @internal */
export function throughLinear(belief: Belief, weight: Tensor, bias: Tensor | null): Belief {
  const [inFeatures = 0, outFeatures = 0] = weight.shape;
  const { splits, channels } = belief;
  check(
    channels === inFeatures,
    'SHAPE_MISMATCH',
    `Linear: the belief must have the layer's ${inFeatures} features, got ${channels} channels`,
  );
  const moments = rectifyBelief(belief);
  const [mean, variance] = [moments.mean, moments.variance].map((x) => reshape(x, [splits, inFeatures]));
  const squares = square(weight);
  const sums = [linear(mean as Tensor, weight, bias), linear(variance as Tensor, squares, null)] as const;
  const [m, v] = sums.map((x) => reshape(x, [splits * outFeatures]));
  for (const made of [mean, variance, squares, ...sums]) made?.dispose();
  if (moments !== belief) moments.dispose();
  return new Belief(m as Tensor, v as Tensor, splits);
}
