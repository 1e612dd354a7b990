import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';
import { scale } from './elementwise.js';

/** Functions of two values; `where` and `whereNot` give b where a is (not) nonzero, else 0. */
type BinaryKind =
  | 'add'
  | 'subtract'
  | 'multiply'
  | 'divide'
  | 'maximum'
  | 'minimum'
  | 'equal'
  | 'greater'
  | 'where'
  | 'whereNot';

declare module '../addon/contract.js' {
  interface Operations {
    /** Shapes are broadcast by NumPy's rules; the result has the format of an operand that has its shape. */
    binary(args: { a: Handle; b: Handle; kind: BinaryKind }): Handle;
  }
}

/**
 * An operand: a tensor, or a number, which is the same as a tensor of one value. Shapes are broadcast by NumPy's rules:
 * aligned to their last axes, sizes must be equal, or one of them 1 or missing. All operands are float32.
 */
export type Operand = Tensor | number;

type Gradient = (operands: { a: Handle; b: Handle; dy: Handle }) => Handle;

/** Sums of tensors that lie alike have a kernel of their own, with wide accesses. */
function launch(kind: BinaryKind, { a, b }: { a: Handle; b: Handle }): Handle {
  const alike = a.format === b.format && a.shape.length === b.shape.length && a.shape.every((n, i) => n === b.shape[i]);
  return kind === 'add' && alike ? native.add({ a, b }) : native.binary({ a, b, kind });
}

/** A function of two values, with the gradients of both before they are summed to the operands' shapes. */
function binary(
  name: string,
  kind: BinaryKind,
  a: Operand,
  b: Operand,
  gradients: { a: Gradient; b: Gradient },
): Tensor {
  return differentiable({
    name,
    inputs: tensorsOf(name, a, b),
    forward: (inputs) => ({ y: launch(kind, inputs) }),
    outputs: ['y'],
    save: (inputs) => inputs,
    backward({ saved, grads, wanted }) {
      const gradient = (input: 'a' | 'b') =>
        wanted(input) ? summedTo(gradients[input]({ ...saved, dy: grads.y }), saved[input], grads.y) : null;
      return { a: gradient('a'), b: gradient('b') };
    },
  }).y;
}

/** A sum or difference, whose gradients need no values of the operands: none are kept. */
function combination(name: string, kind: BinaryKind, a: Operand, b: Operand, ofB: (dy: Handle) => Handle): Tensor {
  const inputs = tensorsOf(name, a, b);
  const formOf = ({ shape, format }: Tensor) => ({ shape, format });
  const [left, right] = [formOf(inputs.a), formOf(inputs.b)];
  return differentiable({
    name,
    inputs,
    forward: (handles) => ({ y: launch(kind, handles) }),
    outputs: ['y'],
    backward: ({ grads: { y: dy }, wanted }) => ({
      a: wanted('a') ? summedTo(dy, left, dy) : null,
      b: wanted('b') ? summedTo(ofB(dy), right, dy) : null,
    }),
  }).y;
}

/** Both operands as tensors, on the device of the one that is. */
function tensorsOf(name: string, a: Operand, b: Operand): { a: Tensor; b: Tensor } {
  const isOperand = (x: unknown) => x instanceof Tensor || typeof x === 'number';
  check(
    isOperand(a) && isOperand(b) && (a instanceof Tensor || b instanceof Tensor),
    'INVALID_ARGUMENT',
    () => `${name}: expected two tensors, or a tensor and a number, got ${String(a)} and ${String(b)}`,
  );
  const { device } = (a instanceof Tensor ? a : b) as Tensor;
  const tensor = (x: Operand) => (typeof x === 'number' ? device.full([], x) : x);
  return { a: tensor(a), b: tensor(b) };
}

/** A gradient summed over the axes along which an operand was broadcast; takes it over, unless it is `dy` itself. */
function summedTo(gradient: Handle, { shape, format }: Pick<Handle, 'shape' | 'format'>, dy: Handle): Handle {
  const fits = gradient.shape.length === shape.length && gradient.shape.every((size, axis) => size === shape[axis]);
  if (fits) return gradient;
  const sum = native.reduce({ x: gradient, shape, format, kind: 'sum' });
  if (gradient !== dy) gradient.dispose();
  return sum;
}

/** The value of `body`, whose operand is freed. */
function freeing(handle: Handle, body: (handle: Handle) => Handle): Handle {
  const result = body(handle);
  handle.dispose();
  return result;
}

const multiplied = (a: Handle, b: Handle) => native.binary({ a, b, kind: 'multiply' });
const divided = (a: Handle, b: Handle) => native.binary({ a, b, kind: 'divide' });
const negative = (x: Handle) => native.scale({ x, factor: -1 });

/** a + b, broadcast. */
export function add(a: Operand, b: Operand): Tensor {
  return combination('add', 'add', a, b, (dy) => dy);
}

/** a - b, broadcast. */
export function sub(a: Operand, b: Operand): Tensor {
  return combination('sub', 'subtract', a, b, negative);
}

/** a·b, value by value, broadcast. */
export function mul(a: Operand, b: Operand): Tensor {
  if (a instanceof Tensor && typeof b === 'number') return scale(a, b);
  if (b instanceof Tensor && typeof a === 'number') return scale(b, a);
  return binary('mul', 'multiply', a, b, {
    a: ({ b, dy }) => multiplied(dy, b),
    b: ({ a, dy }) => multiplied(dy, a),
  });
}

/** a / b, value by value, broadcast. */
export function div(a: Operand, b: Operand): Tensor {
  return binary('div', 'divide', a, b, {
    a: ({ b, dy }) => divided(dy, b),
    b: ({ a, b, dy }) =>
      freeing(divided(a, b), (ratio) =>
        freeing(multiplied(dy, ratio), (product) => freeing(divided(product, b), negative)),
      ),
  });
}

/** The gradient of what is chosen: dy where `chosen(a, b)`, and half of it where both are the same. */
function choice(chosen: 'a' | 'b', kind: 'maximum' | 'minimum'): Gradient {
  const larger = (kind === 'maximum') === (chosen === 'a');
  return ({ a, b, dy }) =>
    freeing(native.binary(larger ? { a, b, kind: 'greater' } : { a: b, b: a, kind: 'greater' }), (above) =>
      freeing(native.binary({ a, b, kind: 'equal' }), (same) =>
        freeing(native.scale({ x: same, factor: 0.5 }), (half) =>
          freeing(native.binary({ a: above, b: half, kind: 'add' }), (share) => multiplied(dy, share)),
        ),
      ),
    );
}

/** The larger value of both, broadcast; NaN where one is. Of two equal values each gets half of the gradient. */
export function maximum(a: Operand, b: Operand): Tensor {
  return binary('maximum', 'maximum', a, b, { a: choice('a', 'maximum'), b: choice('b', 'maximum') });
}

/** The smaller value of both, broadcast; NaN where one is. Of two equal values each gets half of the gradient. */
export function minimum(a: Operand, b: Operand): Tensor {
  return binary('minimum', 'minimum', a, b, { a: choice('a', 'minimum'), b: choice('b', 'minimum') });
}

/** A comparison: 1 where it holds, else 0; without a gradient. */
function compare(name: string, kind: BinaryKind, a: Operand, b: Operand): Tensor {
  const operands = tensorsOf(name, a, b);
  return new Tensor(operands.a.device, native.binary({ a: operands.a.handle, b: operands.b.handle, kind }));
}

/** 1 where a = b, else 0; broadcast. No gradient. */
export function equal(a: Operand, b: Operand): Tensor {
  return compare('equal', 'equal', a, b);
}

/** 1 where a > b, else 0; broadcast. No gradient. */
export function greater(a: Operand, b: Operand): Tensor {
  return compare('greater', 'greater', a, b);
}

/**
 * a where the condition isn't 0, else b; all three broadcast.
 *
 * @param condition such as the result of {@link greater}; no gradient flows to it
 */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  check(
    condition instanceof Tensor,
    'INVALID_ARGUMENT',
    () => `where: condition must be a tensor, got ${String(condition)}`,
  );
  // A NaN that isn't chosen stays out, in the gradients too, where products would let it through.
  const chosen = (kind: 'where' | 'whereNot', value: Operand) => {
    const constant = condition.detach();
    const chosenOf: Gradient = ({ a, dy }) => native.binary({ a, b: dy, kind });
    return binary('where', kind, constant, value, { a: chosenOf, b: chosenOf });
  };
  return add(chosen('where', a), chosen('whereNot', b));
}
