import { type NdArray, ndarray } from './array.js';

/** Philox4x32-10 by its definition, with the 64-bit products as BigInt. */
export function philoxWords(counter: readonly number[], key: readonly number[]): number[] {
  const mask = 0xffffffffn;
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c0;
    const b = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & mask, (a >> 32n) ^ c3 ^ k1, a & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** Two normal values from two words, as the devices define them: see gaussian.h. */
function boxMuller(a: number, b: number): [number, number] {
  // 24 bits, in the middle of their cell; a float32, whose largest value is 1.
  const uniform = Math.fround((a >>> 8) * 2 ** -24 + 2 ** -25);
  const radius = Math.sqrt(-2 * Math.log(uniform));
  // 30 bits with sign: an eighth of a turn to either side.
  const angle = (((b << 2) >> 2) / 2 ** 29) * (Math.PI / 4);
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const [x, y] = b >>> 31 ? [sine, cosine] : [cosine, sine];
  return [radius * x * ((b >>> 30) & 1 ? -1 : 1), radius * y * (a & 1 ? -1 : 1)];
}

/** What a draw depends on: the stream's seed, the number of the step, and that of the draw within it. */
export interface Draw {
  seed: number;
  step: number;
  stream: number;
}

/** The normal values of virtual samples [S, C, H, W]: one counter for four pixels of a (split, channel). */
export function virtualNoise(shape: readonly [number, number, number, number], draw: Draw): NdArray {
  const [splits, channels, height, width] = shape;
  const z = ndarray(shape);
  const key = [draw.seed % 2 ** 32, Math.floor(draw.seed / 2 ** 32)];
  const pixels = height * width;
  for (let cell = 0; cell < splits * channels; cell++) {
    for (let pixel = 0; pixel < pixels; pixel += 4) {
      const [w0, w1, w2, w3] = philoxWords([pixel / 4, cell, draw.stream, draw.step], key) as [
        number,
        number,
        number,
        number,
      ];
      const values = [...boxMuller(w0, w1), ...boxMuller(w2, w3)];
      for (let i = 0; i < 4 && pixel + i < pixels; i++) z.data[cell * pixels + pixel + i] = values[i]!;
    }
  }
  return z;
}
