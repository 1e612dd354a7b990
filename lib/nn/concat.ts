import { check } from '../errors.js';
import { concat } from '../ops/layout.js';
import type { Tensor } from '../tensor.js';
import { disposeFiltered, type Filtered } from './filtered.js';
import { Layer, type ModuleSpec } from './module.js';
import { type ModulePlan, registerModule, type SpecReader, specOf } from './spec.js';
import { sideBySide } from './transition.js';

/**
 * The channels of several branches, each of which gets the same samples, one behind the other. Beliefs go along; where a
 * branch's is unknown, nothing is believed of the whole.
 *
 * @example
 * const block = new Concat(new Conv2d(device, 16, 8, 1), new Conv2d(device, 16, 8, 3, { padding: 'same' }));
 * const y = block.forward(x); // [N, 16, H, W] to [N, 16, H, W]
 */
export class Concat extends Layer {
  static readonly type = 'Concat';
  readonly branches: readonly Layer[];

  constructor(...branches: Layer[]) {
    super();
    check(branches.length > 0, 'INVALID_ARGUMENT', 'Concat: expected at least one branch');
    const wrong = branches.findIndex((branch) => !(branch instanceof Layer));
    check(wrong < 0, 'INVALID_ARGUMENT', () => `Concat: expected layers, got ${String(branches[wrong])} at ${wrong}`);
    this.branches = branches;
  }

  static plan(spec: SpecReader): ModulePlan {
    const plans = spec.children('branches');
    check(plans.length > 0, 'INVALID_ARGUMENT', 'Concat: expected at least one branch');
    return {
      values: plans.reduce((sum, { values }) => sum + values, 0),
      build: (device) => new Concat(...plans.map((plan) => plan.build(device) as Layer)),
    };
  }

  /** Null where a branch has none, or is there twice: sharing can't be expressed. */
  override spec(): ModuleSpec | null {
    const branches = this.branches.map(specOf).filter((spec) => spec !== null);
    const complete = branches.length === this.branches.length && new Set(this.branches).size === this.branches.length;
    return complete ? { type: Concat.type, branches } : null;
  }

  override forward(x: Tensor): Tensor {
    const { x: output, belief } = this.filter({ x, belief: null });
    belief?.dispose();
    return output;
  }

  override filter(given: Filtered): Filtered {
    const parts = this.branches.map((branch) => {
      const { input, ...part } = branch.filter(given);
      input?.dispose();
      return part;
    });
    const beliefs = parts.map(({ belief }) => belief).filter((belief) => belief !== null);
    const whole: Filtered = {
      x: concat(parts.map(({ x }) => x)),
      belief: beliefs.length === parts.length ? sideBySide(beliefs) : null,
    };
    for (const part of parts) disposeFiltered(part, given, whole);
    return whole;
  }
}

registerModule(Concat);
