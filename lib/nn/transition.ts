import { check } from '../errors.js';
import { Belief } from '../ops/belief.js';
import { scale, square } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { reshape } from '../ops/memory.js';
import { rectifyBelief } from '../ops/predict.js';
import type { Tensor } from '../tensor.js';

/** What is believed of the mean over `count` values of a channel, taken as independent, as a convolution takes them. @internal */
export function averaged(belief: Belief, count: number): Belief {
  const moments = rectifyBelief(belief);
  const result = new Belief(moments.mean, scale(moments.variance, 1 / count), belief.splits);
  if (moments !== belief) moments.variance.dispose();
  return result;
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
