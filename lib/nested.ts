import { check } from './errors.js';
import { valuesOf } from './shape.js';

/** Numbers in arrays of any depth, each level of one length. */
export type NestedNumbers = readonly (number | NestedNumbers)[];

/**
 * Values in row-major order with their shape: typed arrays as they are, nested arrays as float32.
 *
 * @internal
 */
export function flatValues(values: Float32Array | Int32Array | Uint8Array | NestedNumbers): {
  typed: Float32Array | Int32Array | Uint8Array;
  shape: number[];
} {
  if (ArrayBuffer.isView(values)) {
    check(
      [Float32Array, Int32Array, Uint8Array].some((type) => values instanceof type),
      'DTYPE_MISMATCH',
      () => `tensor: values must be a Float32Array, Int32Array or Uint8Array, got ${values.constructor.name}`,
    );
    return { typed: values, shape: [values.length] };
  }
  check(Array.isArray(values), 'INVALID_ARGUMENT', () => `tensor: values must be an array, got ${String(values)}`);
  const shape: number[] = [];
  for (let level: unknown = values; Array.isArray(level) && shape.length <= MAX_RANK; [level] = level) {
    shape.push(level.length);
  }
  check(shape.length <= MAX_RANK, 'INVALID_ARGUMENT', `tensor: arrays must be nested at most ${MAX_RANK} deep`);
  const typed = new Float32Array(valuesOf(shape));
  fill(typed, values, shape, 0, 0, '');
  return { typed, shape };
}

/** More levels than any tensor has axes. Deeper arrays may contain themselves. */
const MAX_RANK = 8;

/** Writes the values of one level behind `at`; returns where the next go. */
function fill(
  into: Float32Array,
  values: NestedNumbers,
  shape: readonly number[],
  axis: number,
  at: number,
  path: string,
): number {
  check(
    values.length === shape[axis],
    'SHAPE_MISMATCH',
    () => `tensor: values${path} must have ${shape[axis]} entries, as its first neighbour, got ${values.length}`,
  );
  const inner = axis + 1 < shape.length;
  let next = at;
  for (const [i, value] of values.entries()) {
    if (inner) {
      check(
        Array.isArray(value),
        'SHAPE_MISMATCH',
        () => `tensor: values${path}[${i}] must be an array, got ${String(value)}`,
      );
      next = fill(into, value, shape, axis + 1, next, `${path}[${i}]`);
    } else {
      check(
        typeof value === 'number',
        Array.isArray(value) ? 'SHAPE_MISMATCH' : 'INVALID_ARGUMENT',
        () => `tensor: values${path}[${i}] must be a number, got ${Array.isArray(value) ? 'an array' : String(value)}`,
      );
      into[next++] = value;
    }
  }
  return next;
}
