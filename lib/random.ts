import { check } from './errors.js';

/**
 * Random numbers on the host, for initial values and the order of samples: Philox4x32-10 in counter mode, the
 * generator that the devices use. The same seed gives the same numbers everywhere.
 */
export class HostRandom {
  private readonly key: readonly [number, number];
  private counter = 0;
  private words: number[] = [];
  private spare: number | null = null;

  /**
   * @param seed a whole number from 0 to 2^53 - 1
   * @param stream tells sequences of one seed apart
   */
  constructor(
    seed: number,
    private readonly stream = 0,
  ) {
    check(
      Number.isSafeInteger(seed) && seed >= 0,
      'INVALID_ARGUMENT',
      `random: seed must be a whole number from 0 to 2^53 - 1, got ${seed}`,
    );
    this.key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
  }

  /** 32 random bits. */
  word(): number {
    if (this.words.length === 0) {
      // The third word is far from the streams that devices use.
      this.words = philox([this.counter >>> 0, Math.floor(this.counter / 2 ** 32), 0xffffffff, this.stream], this.key);
      this.counter++;
    }
    return this.words.pop() as number;
  }

  /** Uniform in (0, 1). */
  uniform(): number {
    return ((this.word() >>> 5) * 2 ** 26 + (this.word() >>> 6) + 0.5) * 2 ** -53;
  }

  /** Standard normal (Box and Muller). */
  normal(): number {
    if (this.spare !== null) {
      const value = this.spare;
      this.spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** The numbers below `count` in random order (Fisher and Yates). */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      const kept = order[i] as number;
      order[i] = order[j] as number;
      order[j] = kept;
    }
    return order;
  }
}

let initialValues = new HostRandom(0);

/**
 * Seeds the stream that layers and networks draw their initial values from where they are given no `random` or `seed`.
 * There is one such stream in each thread; it starts with seed 0. So two layers differ, and a program that makes the
 * same layers in the same order gets the same values in every run.
 *
 * @param seed a whole number from 0 to 2^53 - 1
 *
 * @example
 * manualSeed(1);
 * const [a, b] = [new Linear(device, 8, 8), new Linear(device, 8, 8)]; // different values, equal in every run
 */
export function manualSeed(seed: number): void {
  initialValues = new HostRandom(seed);
}

/** The stream that {@link manualSeed} seeds. @internal */
export function initialRandom(): HostRandom {
  return initialValues;
}

/** Philox4x32-10 (Salmon et al., SC 2011). */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [highA, lowA] = multiply(0xd2511f53, c0);
    const [highB, lowB] = multiply(0xcd9e8d57, c2);
    c0 = (highB ^ c1 ^ k0) >>> 0;
    c2 = (highA ^ c3 ^ k1) >>> 0;
    c1 = lowB;
    c3 = lowA;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** High and low 32 bits of a product of two 32-bit numbers. */
function multiply(a: number, b: number): [number, number] {
  const low = Math.imul(a, b) >>> 0;
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const carry = a0 * b1 + (middle & 0xffff);
  const high = a1 * b1 + Math.floor(middle / 65536) + Math.floor(carry / 65536);
  return [high >>> 0, low];
}
