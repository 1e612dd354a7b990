/** The number of values of a shape, or of some of its axes. @internal */
export function valuesOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
