import { type NdArray, ndarray } from './array.js';

/** Float64 references of broadcasting, reductions and rearrangements, by the indices of their definitions. */

type Index = readonly number[];

/** Every index of a shape, row-major. */
export function* indices(shape: Index): Generator<Index> {
  const count = shape.reduce((product, size) => product * size, 1);
  for (let i = 0; i < count; i++) {
    const index = [...shape];
    let rest = i;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    yield index;
  }
}

/** The value at an index, whose axes are aligned to the last ones and clipped where the array has size 1. */
export function at(x: NdArray, index: Index): number {
  const own = index.slice(index.length - x.shape.length);
  return x.data[own.reduce((offset, i, axis) => offset * x.shape[axis]! + (x.shape[axis] === 1 ? 0 : i), 0)]!;
}

/** An array from its values by index. */
export function build(shape: Index, value: (index: Index) => number): NdArray {
  return ndarray(shape, [...indices(shape)].map(value));
}

export function broadcast(a: NdArray, b: NdArray, body: (a: number, b: number) => number): NdArray {
  const rank = Math.max(a.shape.length, b.shape.length);
  const size = (x: NdArray, axis: number) => x.shape[axis - (rank - x.shape.length)] ?? 1;
  const shape = Array.from({ length: rank }, (_, axis) => Math.max(size(a, axis), size(b, axis)));
  return build(shape, (index) => body(at(a, index), at(b, index)));
}

/** Calls `body` with all terms of each output; `axes` are kept with size 1. */
export function reduce(x: NdArray, axes: readonly number[], body: (terms: number[]) => number): NdArray {
  const shape = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const terms = x.shape.map((size, axis) => (axes.includes(axis) ? size : 1));
  return build(shape, (index) =>
    body(
      [...indices(terms)].map((term) =>
        at(
          x,
          index.map((i, axis) => i + term[axis]!),
        ),
      ),
    ),
  );
}
