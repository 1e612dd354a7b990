import type { ExecutionContext } from 'ava';
import { backward, type Device, type Format, scope, type Tensor } from '../../lib/index.js';
import { dot, type NdArray } from './array.js';
import { closeTo } from './compare.js';
import type { TestRandom } from './random.js';
import { kink } from './reference.js';
import type { Hold } from './reference-kalman.js';

/** An input of an op under test. */
export interface Input extends NdArray {
  format?: Format;
  /** No gradient is wanted. */
  constant?: boolean;
}

/** An operation of the library and its reference, on inputs of the same names. */
export interface OpCase<Name extends string> {
  inputs: Record<Name, Input>;
  run(tensors: Record<Name, Tensor>): readonly Tensor[];
  reference(arrays: Record<Name, NdArray>, hold: Hold): readonly NdArray[];
  /** Of the outputs. */
  tolerance: number;
  /** What an output's errors are relative to at least, where it has so few values that all of them may be small. */
  scale?: number;
  /** Of the gradients; default that of the outputs. */
  gradientTolerance?: number;
  /** What a gradient's errors are relative to at least, where all of it may cancel: the size of what is added up. */
  gradientScale?: number;
}

/** Step of the finite differences, and how far from a ReLU's kink inputs must keep. */
const STEP = 1e-6;
const MARGIN = 3e-5;
/** Central differences of a float64 reference: truncation STEP²·f''' and cancellation 1e-16·f / STEP. */
const DIFFERENCE_ERROR = 1e-8;
/** Inputs with more entries are differentiated at this many random ones; random directions cover all. */
const ENTRIES = 32;
const DIRECTIONS = 2;
/** Fewer values than these may all be small by chance: see {@link leastScale}. */
const FEW = 8;

/**
 * Checks an operation's outputs against its reference, and its gradients against finite differences of the reference,
 * both for random gradients of all outputs that are on the tape.
 */
export async function checkOp<Name extends string>(
  t: ExecutionContext,
  device: Device,
  random: TestRandom,
  make: () => OpCase<Name>,
): Promise<void> {
  const { op, expected, evaluate } = draw(make);
  const names = Object.keys(op.inputs) as Name[];
  const { leaves, outputs, seeds } = scope(() => {
    const entries = names.map((name) => {
      const { shape, data, format, constant = false } = op.inputs[name];
      const options = { ...(format && { format }), requiresGrad: !constant };
      return [name, device.tensor(Float32Array.from(data), shape, options)] as const;
    });
    const leaves = Object.fromEntries(entries) as Record<Name, Tensor>;
    const outputs = op.run(leaves);
    // Read before backward, which may reuse the memory of what it adds into.
    const seeds = outputs.map((output) => (output.node ? random.normals(output.shape) : null));
    const live = outputs.flatMap((output, i) => (seeds[i] ? [{ output, seed: seeds[i] }] : []));
    const gradients = live.map(({ output, seed }) =>
      device.tensor(Float32Array.from(seed.data), seed.shape, { format: output.format }),
    );
    if (live.length > 0) {
      backward(
        live.map(({ output }) => output),
        gradients,
      );
    }
    return { leaves, outputs, seeds };
  });

  t.is(outputs.length, expected.length, 'number of outputs');
  const largestOutput = Math.max(...expected.map(({ data }) => largestOf(data)));
  for (const [i, output] of outputs.entries()) {
    const { shape, data } = expected[i]!;
    t.deepEqual([...output.shape], [...shape], `shape of output ${i}`);
    closeTo(t, await output.data(), data, op.tolerance, `output ${i}`, leastScale(data, largestOutput, op.scale));
  }
  const objective = (inputs: Record<Name, NdArray>) =>
    evaluate(inputs).reduce((total, y, i) => total + (seeds[i] ? dot(y.data, seeds[i].data) : 0), 0);
  const allowed = (op.gradientTolerance ?? op.tolerance) + DIFFERENCE_ERROR;
  const gradients: [name: Name, values: ArrayLike<number>][] = [];
  for (const name of names) {
    if (op.inputs[name].constant || seeds.every((seed) => seed === null)) continue;
    const { grad } = leaves[name];
    t.not(grad, null, `gradient of ${name} is missing`);
    gradients.push([name, await grad!.data()]);
  }
  const largest = Math.max(...gradients.map(([, values]) => largestOf(values)));
  for (const [name, values] of gradients) {
    const derivative = (direction: Float64Array) => slope(objective, op.inputs, name, direction);
    const scale = leastScale(values, largest, op.gradientScale);
    checkGradient(t, random, values, derivative, { allowed, scale, name });
  }
  for (const tensor of [...names.map((name) => leaves[name]), ...outputs]) tensor.dispose();
}

/** Inputs whose ReLUs keep clear of the kink, with the outputs of the reference. */
function draw<Name extends string>(make: () => OpCase<Name>) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const op = make();
    kink.nearest = Number.POSITIVE_INFINITY;
    const held: unknown[] = [];
    const expected = op.reference(op.inputs, (value) => {
      held.push(value);
      return value;
    });
    if (kink.nearest < MARGIN) continue;
    const evaluate = (inputs: Record<Name, NdArray>) => {
      let next = 0;
      return op.reference(inputs, <T>() => held[next++] as T);
    };
    return { op, expected, evaluate };
  }
  throw new Error('no inputs away from the kinks of ReLU in 200 draws');
}

/** Derivative of the objective in a direction of one input. */
function slope<Name extends string>(
  objective: (inputs: Record<Name, NdArray>) => number,
  inputs: Record<Name, NdArray>,
  name: Name,
  direction: Float64Array,
): number {
  const moved = (step: number) => {
    const data = inputs[name].data.map((value, i) => value + step * direction[i]!);
    return objective({ ...inputs, [name]: { shape: inputs[name].shape, data } });
  };
  return (moved(STEP) - moved(-STEP)) / (2 * STEP);
}

/**
 * What the errors of an operation's values are relative to at least. A sum may cancel, a product have a small factor: few
 * values may all be small by chance, and then the `largest` of all its outputs, or gradients, tells the size of the terms.
 */
function leastScale(values: ArrayLike<number>, largest: number, stated = 0): number {
  return Math.max(values.length < FEW ? largest : 0, stated);
}

/** Of the finite values. */
function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) largest = Math.max(largest, Math.abs(values[i]!));
  }
  return largest;
}

function checkGradient(
  t: ExecutionContext,
  random: TestRandom,
  gradient: ArrayLike<number>,
  derivative: (direction: Float64Array) => number,
  { allowed, scale, name }: { allowed: number; scale: number; name: string },
): void {
  const size = gradient.length;
  const all = Array.from({ length: size }, (_, i) => i);
  // The largest of all gives the others their measure.
  const measure = largestOf(gradient);
  const largest = all.find((i) => Math.abs(gradient[i]!) === measure) ?? 0;
  const entries = size <= ENTRIES ? all : [largest, ...Array.from({ length: ENTRIES }, () => random.below(size))];
  const expected = entries.map((entry) => {
    const direction = new Float64Array(size);
    direction[entry] = 1;
    return derivative(direction);
  });
  closeTo(
    t,
    entries.map((entry) => gradient[entry]!),
    expected,
    allowed,
    `gradient of ${name} at [${entries.join(', ')}]`,
    scale,
  );
  for (let i = 0; i < DIRECTIONS; i++) {
    // Within [-1, 1], so that no value moves further than when it moves alone.
    const direction = random.uniforms([size], -1, 1).data;
    const along = dot(gradient, direction);
    // The errors of the entries add up like independent ones: relative to the norm of the terms.
    const terms = Math.sqrt(direction.reduce((total, d, j) => total + (d * gradient[j]!) ** 2, 0)) + scale;
    const difference = Math.abs(along - derivative(direction));
    const limit = 4 * allowed * terms + DIFFERENCE_ERROR;
    t.true(difference <= limit, `gradient of ${name} in a random direction: off by ${difference}, allowed ${limit}`);
  }
}
