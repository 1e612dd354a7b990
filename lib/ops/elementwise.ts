import { native } from '../addon/load.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { unary } from './differentiable.js';

/** Functions of one value; the last three have parameters: a slope, an exponent, two bounds. */
type MapKind =
  | 'exp'
  | 'log'
  | 'sqrt'
  | 'reciprocal'
  | 'abs'
  | 'tanh'
  | 'sigmoid'
  | 'gelu'
  | 'silu'
  | 'softplus'
  | 'leakyRelu'
  | 'pow'
  | 'clamp';

declare module '../addon/contract.js' {
  interface Operations {
    add(args: { a: Handle; b: Handle }): Handle;
    /** Sums a + b, or a alone; of filters that are stored in 16 bits, too, in float32. */
    addEach(args: { pairs: readonly { a: Handle; b?: Maybe }[] }): Handle[];
    addInto(args: { target: Handle; other: Handle }): void;
    scale(args: { x: Handle; factor: number }): Handle;
    /** x times a tensor of one value. */
    scaleBy(args: { x: Handle; factor: Handle }): Handle;
    relu(args: { x: Handle }): Handle;
    reluBackward(args: { y: Handle; dy: Handle }): Handle;
    map(args: { x: Handle; kind: MapKind; a: number; b: number }): Handle;
    /** `at`: the result for exp, sqrt, reciprocal, tanh and sigmoid, else x. */
    mapBackward(args: { at: Handle; dy: Handle; kind: MapKind; a: number; b: number }): Handle;
  }
}

/** target += x, in place, without a gradient. @internal */
export function addInto(target: Tensor, x: Tensor): void {
  native.addInto({ target: target.handle, other: x.handle });
}

/** x·factor. */
export function scale(x: Tensor, factor: number): Tensor {
  return unary('scale', x, {
    forward: (x) => native.scale({ x, factor }),
    backward: ({ dy }) => native.scale({ x: dy, factor }),
  });
}

/** max(x, 0); NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  return unary('relu', x, {
    forward: (x) => native.relu({ x }),
    save: (_, y) => ({ y }),
    backward: ({ saved, dy }) => native.reluBackward({ ...saved, dy }),
  });
}

/** Kinds whose slope is computed from the result. */
const fromResult: ReadonlySet<MapKind> = new Set(['exp', 'sqrt', 'reciprocal', 'tanh', 'sigmoid']);

function map(kind: MapKind, x: Tensor, a = 0, b = 0): Tensor {
  return unary(kind, x, {
    forward: (x) => native.map({ x, kind, a, b }),
    save: (x, y) => ({ at: fromResult.has(kind) ? y : x }),
    backward: ({ saved, dy }) => native.mapBackward({ ...saved, dy, kind, a, b }),
  });
}

/** e^x. */
export function exp(x: Tensor): Tensor {
  return map('exp', x);
}

/** The natural logarithm; NaN below 0. */
export function log(x: Tensor): Tensor {
  return map('log', x);
}

/** The square root; NaN below 0. Its slope at 0 is infinite. */
export function sqrt(x: Tensor): Tensor {
  return map('sqrt', x);
}

/** 1 / x. */
export function reciprocal(x: Tensor): Tensor {
  return map('reciprocal', x);
}

/** |x|; its slope at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return map('abs', x);
}

/** -x. */
export function neg(x: Tensor): Tensor {
  return scale(x, -1);
}

/** The hyperbolic tangent. */
export function tanh(x: Tensor): Tensor {
  return map('tanh', x);
}

/** 1 / (1 + exp(-x)). */
export function sigmoid(x: Tensor): Tensor {
  return map('sigmoid', x);
}

/** Gaussian error linear unit (Hendrycks and Gimpel 2016): x·Φ(x), with the exact Φ. */
export function gelu(x: Tensor): Tensor {
  return map('gelu', x);
}

/** Sigmoid linear unit, also called swish: x·sigmoid(x). */
export function silu(x: Tensor): Tensor {
  return map('silu', x);
}

/** log(1 + exp(x)), without overflow. */
export function softplus(x: Tensor): Tensor {
  return map('softplus', x);
}

/** x above 0, slope·x below. */
export function leakyRelu(x: Tensor, slope = 0.01): Tensor {
  check(
    Number.isFinite(slope),
    'INVALID_ARGUMENT',
    () => `leakyRelu: slope must be a finite number, got ${String(slope)}`,
  );
  return map('leakyRelu', x, slope);
}

/** x^exponent, value by value; NaN for negative x where the exponent isn't whole. */
export function pow(x: Tensor, exponent: number): Tensor {
  check(
    Number.isFinite(exponent),
    'INVALID_ARGUMENT',
    () => `pow: exponent must be a finite number, got ${String(exponent)}`,
  );
  return exponent === 2 ? square(x) : map('pow', x, exponent);
}

/** x². */
export function square(x: Tensor): Tensor {
  return unary('square', x, {
    forward: (x) => native.binary({ a: x, b: x, kind: 'multiply' }),
    save: (x) => ({ x }),
    backward({ saved: { x }, dy }) {
      const product = native.binary({ a: x, b: dy, kind: 'multiply' });
      const gradient = native.scale({ x: product, factor: 2 });
      product.dispose();
      return gradient;
    },
  });
}

/** The nearest value within [low, high]; no gradient flows where x is outside. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  check(
    low <= high,
    'INVALID_ARGUMENT',
    () => `clamp: low must be at most high, got ${String(low)} and ${String(high)}`,
  );
  return map('clamp', x, low, high);
}
