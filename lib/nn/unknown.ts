import type { Tensor } from '../tensor.js';
import type { Filtered } from './filtered.js';
import { Layer, type ModuleSpec } from './module.js';
import { type ModulePlan, registerModule, type SpecReader, specOf } from './spec.js';

/**
 * A layer whose output nothing is believed of: a Kalman normalization behind it has no prior, and is a filter over time
 * alone.
 *
 * @example
 * const net = new Sequential(conv, kalmanNorm, new Unknown(new MyLayer()), conv2, kalmanNorm2, new GlobalAvgPool2d());
 */
export class Unknown extends Layer {
  static readonly type = 'Unknown';

  constructor(readonly layer: Layer) {
    super();
  }

  static plan(spec: SpecReader): ModulePlan {
    const { values, build } = spec.child('layer');
    return { values, build: (device) => new Unknown(build(device) as Layer) };
  }

  override spec(): ModuleSpec | null {
    const layer = specOf(this.layer);
    return layer && { type: Unknown.type, layer };
  }

  override forward(x: Tensor): Tensor {
    return this.layer.forward(x);
  }

  override filter({ x }: Filtered): Filtered {
    return { x: this.layer.forward(x), belief: null };
  }
}

registerModule(Unknown);
