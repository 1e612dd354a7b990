import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { Layer, Module, type ModuleSpec } from './module.js';
import { type ModulePlan, registerModule, type SpecReader, specOf } from './spec.js';

/**
 * Layers one after the other.
 *
 * @example
 * const net = new Sequential(new Conv2d(device, 3, 8, 3, { padding: 'same' }), new BatchNorm2d(device, 8), new ReLU());
 */
export class Sequential extends Layer {
  static readonly type = 'Sequential';
  readonly layers: readonly Layer[];

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
    let current = x;
    for (const layer of this.layers) {
      const next = layer.forward(current);
      if (current !== x && next !== current) current.dispose();
      current = next;
    }
    return current;
  }
}

registerModule(Sequential);
