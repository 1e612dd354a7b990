/**
 * How far a tensor may be from the recorded one, and whether it is.
 */
import type { Fields } from './files.js';
import type { Values } from './layout.js';

/**
 * What is allowed:
 *
 * - `entry`: |a - b| <= absolute·max(1, max|reference|) + relative·|reference|, for every entry
 * - `tensor`: max|a - b| <= relative·max(max|reference|, 1e-6). Where that fails and `flips` is given: a relative L2
 *   error of at most `flips` (see {@link flipBound})
 * - `l2`: ||a - b|| <= relative·max(||reference||, 1e-6), Euclidean norms; for devices of short precision
 */
export type Tolerance =
  | { readonly metric: 'entry'; readonly absolute: number; readonly relative: number }
  | { readonly metric: 'tensor'; readonly relative: number; readonly flips: number | null }
  | { readonly metric: 'l2'; readonly relative: number };

/** The outcome for one tensor. */
export interface Comparison {
  readonly name: string;
  readonly passed: boolean;
  /** `entry`: |a - b| of the worst entry; `tensor`: max|a - b| / max(max|reference|, 1e-6); `l2`: the relative norm. */
  readonly error: number;
  /** What `error` may be. */
  readonly tolerance: number;
  /** The relative L2 error, where the tensor passed only by the tolerance for flipped ReLUs. */
  readonly flipped: number | null;
}

/** Compares values with recorded ones of the same number. */
export function compare(name: string, actual: Values, reference: Values, tolerance: Tolerance): Comparison {
  const [a, b] = [actual.data, reference.data];
  if (tolerance.metric === 'l2') {
    const error = relativeL2(a, b);
    return { name, passed: error <= tolerance.relative, error, tolerance: tolerance.relative, flipped: null };
  }
  const peak = largest(b);
  if (tolerance.metric === 'tensor') {
    let worst = 0;
    for (let i = 0; i < b.length; i++) worst = Math.max(worst, distance(a[i]!, b[i]!));
    const error = worst / Math.max(peak, 1e-6);
    const strict = error <= tolerance.relative;
    const l2 = strict || tolerance.flips === null ? Number.POSITIVE_INFINITY : relativeL2(a, b);
    const passed = strict || (tolerance.flips !== null && l2 <= tolerance.flips);
    return { name, passed, error, tolerance: tolerance.relative, flipped: passed && !strict ? l2 : null };
  }
  const floor = tolerance.absolute * Math.max(1, peak);
  let worst = { share: 0, error: 0, allowed: floor };
  for (let i = 0; i < b.length; i++) {
    const error = distance(a[i]!, b[i]!);
    const allowed = Number.isFinite(b[i]!) ? floor + tolerance.relative * Math.abs(b[i]!) : floor;
    if (error / allowed > worst.share) worst = { share: error / allowed, error, allowed };
  }
  return { name, passed: worst.share <= 1, error: worst.error, tolerance: worst.allowed, flipped: null };
}

/** |a - b|; 0 for equal infinities and for two NaN, infinite for anything else that isn't finite. */
function distance(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
}

/** The largest magnitude among the finite values. */
export function largest(values: Float32Array): number {
  let result = 0;
  for (const value of values) if (Number.isFinite(value)) result = Math.max(result, Math.abs(value));
  return result;
}

function relativeL2(a: Float32Array, b: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += distance(a[i]!, b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-12));
}

/**
 * Tolerances of files with layer, convolution and block cases: those that the file states, by the names or beginnings of
 * names of the tensors.
 *
 * For tensors that it says nothing about: float32 rounds to 6e-8, sums over a few hundred values and 1/sqrt(var) take
 * that to some 1e-6 of the largest entry, hence 1e-5 forward. A normalization's gradient is the difference of terms that
 * are an order of magnitude larger than itself, hence 1e-4 backward.
 */
export function caseTolerances(file: Fields): (name: string) => Tolerance {
  const stated: [string, Tolerance][] = [];
  if (file.has('tolerances')) {
    const tolerances = file.object('tolerances');
    for (const key of tolerances.keys().filter((name) => name !== 'metric')) {
      const group = tolerances.object(key);
      const tolerance = { metric: 'entry', absolute: group.number('atol'), relative: group.number('rtol') } as const;
      for (const name of key.split(',')) stated.push([name.trim(), tolerance]);
    }
  }
  const matches = (name: string, key: string) =>
    name === key || name.startsWith(`${key}/`) || name.startsWith(`${key}_`);
  return (name) =>
    stated.find(([key]) => matches(name, key))?.[1] ??
    (name.startsWith('grad')
      ? { metric: 'entry', absolute: 2e-5, relative: 1e-4 }
      : { metric: 'entry', absolute: 2e-6, relative: 1e-5 });
}

/**
 * Tolerances of a whole-model file: those that it states for `step<t>`, `grad`, `after<k>` and `infer_<snapshot>`; and
 * for steps that it doesn't name, those of the format: 1e-5 before any update, 5e-5 after one, 1e-3 after more, and 2e-4
 * for gradients. Errors grow with the updates, as a gradient's error enters the parameters and so the next gradient.
 */
export function modelTolerances(file: Fields): (name: string) => Tolerance {
  const stated = new Map<string, number>();
  const flips = flipBound(file);
  if (file.has('tolerances')) {
    const tolerances = file.object('tolerances');
    for (const key of tolerances.keys().filter((name) => typeof tolerances.value(name) === 'number')) {
      for (const [group] of key.matchAll(/infer_\w+|after\d+|step\d+|grad/g)) stated.set(group, tolerances.number(key));
    }
  }
  return (name) => {
    const group = name.slice(0, name.indexOf('/'));
    const updates = group === 'infer_init' ? 0 : Number(/\d+$/.exec(group)?.[0] ?? 2);
    const usual = group === 'grad' ? 2e-4 : updates === 0 ? 1e-5 : updates === 1 ? 5e-5 : 1e-3;
    const mayFlip = group === 'grad' || updates > 0;
    return { metric: 'tensor', relative: stated.get(group) ?? usual, flips: mayFlip ? flips : null };
  };
}

/**
 * The bound that a file states as its "flip-tolerant fallback": a ReLU argument within float32 rounding of 0 may have
 * another sign here than where the file was recorded, and then single entries of the gradient differ, and all that
 * follows. It holds for `grad`, `step<t>` from t = 1 and `after*`, by which this takes parameters, running averages and
 * inference of the snapshots `after<k>`; never for the forward pass of step 0.
 */
function flipBound(file: Fields): number | null {
  if (!file.has('tolerances')) return null;
  const text = file.object('tolerances').value('flip-tolerant fallback');
  const bound =
    typeof text === 'string' ? Number(/relative L2 error[^<]*<= *([\d.e+-]+\d)/.exec(text)?.[1]) : Number.NaN;
  return Number.isNaN(bound) ? null : bound;
}

/**
 * Takes the fallback for flipped ReLUs back where a flip can't be the cause: the two sides of 0 have the same output, so
 * a flip shows in gradients and through them in parameters. Running averages or logits that differ while these agree have
 * another cause.
 */
export function withoutUnfoundedFlips(comparisons: readonly Comparison[]): Comparison[] {
  const isCause = ({ name, flipped }: Comparison) =>
    flipped !== null && (name.startsWith('grad/') || (name.startsWith('after') && !name.endsWith('/EMA')));
  if (comparisons.some(isCause)) return [...comparisons];
  return comparisons.map((comparison) =>
    comparison.flipped === null ? comparison : { ...comparison, passed: false, flipped: null },
  );
}
