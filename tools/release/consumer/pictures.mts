/** Made-up pictures of 3 x 32 x 32: dark ones (class 1) behind bright ones (class 0), with a pattern over all. */
export function brightPixels(count: number): Float32Array {
  const size = 3 * 32 * 32;
  return Float32Array.from({ length: count * size }, (_, i) => (Math.floor(i / size) % 2 === 0 ? 1 : -1) + Math.sin(i));
}
