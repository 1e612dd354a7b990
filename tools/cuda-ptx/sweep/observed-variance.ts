import { native } from '../../../lib/addon/load.js';
import { Belief } from '../../../lib/index.js';
import { observedVariance } from '../../../lib/ops/observed-variance.js';
import { type Family, HEIGHT, type Inputs, WIDTH } from '../inputs.js';

/** The gradient of a filter's outputs and its input channels, [in / groups] a group, as samples have shown it. */
function differentiate(inputs: Inputs, shape: readonly [number, number, number, number], groups: number): void {
  const [outputs, channels] = shape;
  const filter = inputs.tensor(shape, 'filter');
  const belief = new Belief(inputs.tensor([channels * groups]), inputs.positive(channels * groups), 1);
  const observed = { slope: inputs.tensor(shape, 'filter'), variance: inputs.positive(outputs) };
  inputs.differentiate(observedVariance(inputs.positive(outputs), filter, belief, observed));
}

/** Takes samples [N, C, H, W], as if a 3 x 3 filter [C, C', 3, 3] had made them of themselves, into its averages. */
function observe(inputs: Inputs, shape: readonly number[], filter: readonly number[], warmUp: boolean): void {
  const [[, channels = 1], [, inGroup = 1], y] = [shape, filter, inputs.tensor(shape)];
  const averages = {
    center: inputs.tensor([channels]).handle,
    averageVariance: inputs.positive(channels).handle,
    updates: inputs.device.full([1], 3, { dtype: 'int32' }).handle,
  };
  const { centered, next } = native.centerObserved({ y: y.handle, ...averages, decay: 0.9, warmUp });
  const slope = inputs.tensor(filter, 'filter').handle;
  const operands = {
    x: y.handle,
    dy: centered,
    w: slope,
    shape: [1, 1, 1, 1, 1, 1, 1, 1, channels / inGroup] as const,
  };
  // As activations are stored, at times.
  const products = native.conv2dBackwardWeights({ ...operands, rounded: warmUp });
  native.averageObserved({ products, scale: 0.3, next, slope, ...averages });
  products.dispose();
  centered.dispose();
  next.dispose();
}

export default {
  everyWidth(inputs, channels) {
    observe(inputs, [4, channels, HEIGHT, WIDTH], [channels, channels, 3, 3], true);
    differentiate(inputs, [channels, channels, 3, 3], 1);
  },

  once(inputs) {
    // Several slabs of channels, of more chunks than every block merges by itself; a filter of several blocks.
    observe(inputs, [2, 512, 33, 33], [512, 1, 3, 3], false);
    // More channels than a block has threads.
    observe(inputs, [1, 264, 1, 1], [264, 1, 3, 3], true);
    differentiate(inputs, [6, 13, 3, 3], 2);
  },
} satisfies Family;
