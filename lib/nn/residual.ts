import { check } from '../errors.js';
import { addBeliefs } from '../ops/belief.js';
import { add } from '../ops/broadcast.js';
import { rectifyBelief } from '../ops/predict.js';
import type { Tensor } from '../tensor.js';
import { disposeFiltered, type Filtered, samplesAlone } from './filtered.js';
import { Layer, type ModuleSpec } from './module.js';
import { type ModulePlan, registerModule, type SpecReader, specOf } from './spec.js';

/**
 * Residual sum: shortcut(x) + body(x). Beliefs add up as those of independent variables do.
 *
 * @example
 * const block = new Residual(
 *   new Sequential(
 *     new KalmanNorm2d(device, 16, { splits, relu: true }),
 *     new Conv2d(device, 16, 16, 3, { padding: 'same' }),
 *   ),
 * );
 */
export class Residual extends Layer {
  static readonly type = 'Residual';

  /** @param shortcut default: the samples as they are */
  constructor(
    readonly body: Layer,
    readonly shortcut: Layer | null = null,
  ) {
    super();
    check(body instanceof Layer, 'INVALID_ARGUMENT', () => `Residual: body must be a layer, got ${String(body)}`);
    check(
      shortcut === null || shortcut instanceof Layer,
      'INVALID_ARGUMENT',
      () => `Residual: shortcut must be a layer or null, got ${String(shortcut)}`,
    );
  }

  static plan(spec: SpecReader): ModulePlan {
    const body = spec.child('body');
    const shortcut = spec.has('shortcut') ? spec.child('shortcut') : null;
    return {
      values: body.values + (shortcut?.values ?? 0),
      build: (device) => new Residual(body.build(device) as Layer, (shortcut?.build(device) as Layer) ?? null),
    };
  }

  /** Null where a layer has none. */
  override spec(): ModuleSpec | null {
    const body = specOf(this.body);
    const shortcut = this.shortcut && specOf(this.shortcut);
    if (!body || (this.shortcut && !shortcut)) return null;
    return { type: Residual.type, body, ...(shortcut && { shortcut }) };
  }

  override forward(x: Tensor): Tensor {
    return samplesAlone(this.filter({ x, belief: null }));
  }

  override filter(given: Filtered): Filtered {
    const { input, ...branch } = this.body.filter(given);
    const known: Filtered = { x: given.x, belief: input ?? given.belief };
    const side = this.shortcut ? this.shortcut.filter(known) : known;
    const sum: Filtered = { x: add(side.x, branch.x), belief: sumOf(side, branch) };
    disposeFiltered(branch, given, sum);
    disposeFiltered(side, given, sum);
    if (side !== known) disposeFiltered(known, given, sum);
    return sum;
  }
}

function sumOf({ belief: a }: Filtered, { belief: b }: Filtered) {
  if (!a || !b) return null;
  const [left, right] = [rectifyBelief(a), rectifyBelief(b)];
  const sum = addBeliefs(left, right);
  if (left !== a) left.dispose();
  if (right !== b) right.dispose();
  return sum;
}

registerModule(Residual);
