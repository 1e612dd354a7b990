import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import type { Tensor } from '../tensor.js';
import { disposeFiltered, type Filtered } from './filtered.js';
import { Layer, Module, type ModuleSpec } from './module.js';
import { type ModulePlan, registerModule, type SpecReader, specOf } from './spec.js';

/**
 * Layers one after the other. What is believed of the samples goes along with them, so that every Kalman normalization
 * but the first has its prior.
 *
 * @example
 * const net = new Sequential(new Conv2d(device, 3, 8, 3, { padding: 'same' }), new BatchNorm2d(device, 8), new ReLU());
 */
export class Sequential extends Layer {
  static readonly type = 'Sequential';
  readonly layers: readonly Layer[];
  private warned = false;

  constructor(...layers: Layer[]) {
    super();
    check(layers.length > 0, 'INVALID_ARGUMENT', 'Sequential: expected at least one layer');
    const wrong = layers.findIndex((layer) => !(layer instanceof Module));
    check(wrong < 0, 'INVALID_ARGUMENT', () => `Sequential: expected layers, got ${String(layers[wrong])} at ${wrong}`);
    this.layers = layers;
  }

  static plan(spec: SpecReader): ModulePlan {
    const plans = spec.children('layers');
    check(plans.length > 0, 'INVALID_ARGUMENT', 'Sequential: expected at least one layer');
    return {
      values: plans.reduce((sum, { values }) => sum + values, 0),
      build: (device) => new Sequential(...plans.map((plan) => plan.build(device) as Layer)),
    };
  }

  /** Null where a layer has none, or is there twice: sharing can't be expressed. */
  override spec(): ModuleSpec | null {
    const layers = this.layers.map(specOf).filter((spec) => spec !== null);
    const complete = layers.length === this.layers.length && new Set(this.layers).size === this.layers.length;
    return complete ? { type: Sequential.type, layers } : null;
  }

  override forward(x: Tensor): Tensor {
    // Behind the last filter nobody asks what is believed.
    const last = this.layers.findLastIndex((layer) => layer.usesBelief);
    const { x: output, belief, input } = this.run({ x, belief: null }, last);
    belief?.dispose();
    input?.dispose();
    return output;
  }

  override filter(input: Filtered): Filtered {
    return this.run(input, this.layers.length);
  }

  /** @param last the last layer that is told what is believed of its input */
  private run(start: Filtered, last: number): Filtered {
    let current = start;
    let learnt: Belief | null = null;
    let filters = 0;
    for (const [i, layer] of this.layers.entries()) {
      if (layer.usesBelief && filters++ > 0 && this.training && !current.belief) this.warn(i);
      const { input = null, ...next } = layer.filter(i <= last ? current : { x: current.x, belief: null });
      if (i === 0) learnt = input;
      else input?.dispose();
      if (current !== start) disposeFiltered(current, start, next);
      current = next;
    }
    return { ...current, input: learnt };
  }

  /** Says once that a Kalman normalization is none. */
  private warn(index: number): void {
    if (this.warned) return;
    this.warned = true;
    process.emitWarning(
      `Sequential: layer ${index} (${this.layers[index]?.constructor.name}) is trained without a prior, that is, as a ` +
        'filter over time alone: a layer before it has an unknown belief',
      { type: 'KalmanNormWarning', code: 'NO_PRIOR' },
    );
  }
}

registerModule(Sequential);
