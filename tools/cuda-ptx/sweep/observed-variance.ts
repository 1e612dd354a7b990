import { native } from '../../../lib/addon/load.js';
import { Belief } from '../../../lib/index.js';
import { observedVariance } from '../../../lib/ops/observed-variance.js';
import { type Family, HEIGHT, type Inputs, MANY_CHANNELS, WIDTH } from '../inputs.js';

/** The gradient of a filter's outputs and its input channels, [in / groups] a group, as samples have shown it. */
function observe(inputs: Inputs, shape: readonly [number, number, number, number], groups: number): void {
  const [outputs, channels] = shape;
  const filter = inputs.tensor(shape, 'filter');
  const belief = new Belief(inputs.tensor([channels * groups]), inputs.positive(channels * groups), 1);
  const observed = { slope: inputs.tensor(shape, 'filter'), variance: inputs.positive(outputs) };
  inputs.differentiate(observedVariance(inputs.positive(outputs), filter, belief, observed));
}

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([4, channels, HEIGHT, WIDTH]);
    native.center({ x: x.handle, center: inputs.tensor([channels]).handle }).dispose();
    observe(inputs, [channels, channels, 3, 3], 1);
  },

  once(inputs) {
    const updates = inputs.device.full([1], 3, { dtype: 'int32' });
    for (const channels of [5, MANY_CHANNELS]) {
      native.averageMoments({
        mean: inputs.tensor([channels]).handle,
        variance: inputs.positive(channels).handle,
        center: inputs.tensor([channels]).handle,
        averageVariance: inputs.positive(channels).handle,
        updates: updates.handle,
        decay: 0.9,
        warmUp: channels === 5,
      });
    }
    observe(inputs, [6, 13, 3, 3], 2);
  },
} satisfies Family;
