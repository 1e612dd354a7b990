/** A row-major array in float64: what the references compute with. Statistics and parameters are vectors. */
export interface NdArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function ndarray(shape: readonly number[], data?: ArrayLike<number>): NdArray {
  const size = shape.reduce((product, length) => product * length, 1);
  if (data && data.length !== size) throw new Error(`${data.length} values for shape [${shape.join(', ')}]`);
  return { shape: [...shape], data: data ? Float64Array.from(data) : new Float64Array(size) };
}

export function vector(values: ArrayLike<number>): NdArray {
  return ndarray([values.length], values);
}

export function map(x: NdArray, body: (value: number, index: number) => number): NdArray {
  return { shape: x.shape, data: x.data.map(body) };
}

export function zip(a: NdArray, b: NdArray, body: (a: number, b: number) => number): NdArray {
  return map(a, (value, i) => body(value, b.data[i]!));
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/**
 * Sum of a·b, with what each addition loses added at the end (Neumaier): a finite difference of such sums divides their
 * error by its step, and of 10^5 terms plain additions lose 10^-11.
 */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0;
  let lost = 0;
  for (let i = 0; i < a.length; i++) {
    const term = a[i]! * b[i]!;
    const next = total + term;
    lost += Math.abs(total) >= Math.abs(term) ? total - next + term : term - next + total;
    total = next;
  }
  return total + lost;
}

/** N, C, H and W of [N, C, H, W] or [N, C]. */
export function sizes(x: NdArray): [n: number, c: number, h: number, w: number] {
  const [n = 1, c = 1, h = 1, w = 1] = x.shape;
  return [n, c, h, w];
}

/** Samples [from, to). */
export function slice(x: NdArray, from: number, to: number): NdArray {
  const each = x.data.length / x.shape[0]!;
  return { shape: [to - from, ...x.shape.slice(1)], data: x.data.slice(from * each, to * each) };
}

/** The samples of `a`, then those of `b`. */
export function concat(a: NdArray, b: NdArray): NdArray {
  return ndarray([a.shape[0]! + b.shape[0]!, ...a.shape.slice(1)], [...a.data, ...b.data]);
}
