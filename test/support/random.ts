import { type NdArray, ndarray } from './array.js';

/** Seed of the run: `KN_TEST_SEED` to repeat one. Failing tests print it. */
export const SEED = Number(process.env.KN_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Random numbers of a test (Bryc's sfc32), from the run's seed and the test's title. */
export class TestRandom {
  private a = 0;
  private b = 0;
  private c = 0;
  private counter = 1;

  constructor(title: string, seed = SEED) {
    this.a = seed | 0;
    for (const letter of title) this.b = (Math.imul(this.b, 31) + letter.charCodeAt(0)) | 0;
    for (let i = 0; i < 15; i++) this.word();
  }

  word(): number {
    const t = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  uniform(from = 0, to = 1): number {
    return from + ((to - from) * (this.word() + 0.5)) / 2 ** 32;
  }

  /** A whole number below `end`. */
  below(end: number): number {
    return Math.floor(this.uniform(0, end));
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Normal values that float32 can hold. */
  normals(shape: readonly number[], mean = 0, std = 1): NdArray {
    const x = ndarray(shape);
    for (let i = 0; i < x.data.length; i++) x.data[i] = Math.fround(mean + std * this.normal());
    return x;
  }

  /** Uniform values that float32 can hold. */
  uniforms(shape: readonly number[], from: number, to: number): NdArray {
    const x = ndarray(shape);
    for (let i = 0; i < x.data.length; i++) x.data[i] = Math.fround(this.uniform(from, to));
    return x;
  }
}
