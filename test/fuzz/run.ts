import { setImmediate as turn } from 'node:timers/promises';
import { KalmanNormError } from '../../lib/index.js';
import { TestRandom } from '../support/random.js';
import type { Target } from './target.js';

/** What came of a target's cases. */
export interface Tally {
  /** Cases that were read. */
  accepted: number;
  /** Cases that were refused, by the error's code. */
  readonly refused: Record<string, number>;
  /** Milliseconds of the slowest case. */
  slowest: number;
  /** Bytes of array buffers that a case added at most. */
  memory: number;
  /** Bytes of other objects, garbage included, that a case added at most. */
  heap: number;
  /** Milliseconds of all. */
  duration: number;
}

export interface FuzzOptions {
  /** Number of the first case; default 0. */
  readonly first?: number;
  /** Called with the target's name and the case's number before it is read. */
  readonly onCase?: (name: string, number: number) => void;
}

/** Milliseconds that a case may take: inputs have some tens of kilobytes, and a machine may be busy. */
const mostTime = 2000;
/** Bytes of array buffers that a case may add: a multiple of its size, and what zlib takes for the smallest file. */
const mostMemory = 8;
const spare = 2 ** 18;
/** The same of other objects: a number of JSON takes two characters, and sixteen bytes or more in memory. */
const mostObjects = 100;
const spareObjects = 2 ** 22;
/** Characters of a message: an input isn't repeated. */
const longestMessage = 2000;

/**
 * Reads cases of a target and checks what every reader of files promises: an input is read or refused with a
 * `KalmanNormError` of an expected code and a short message, soon, and without memory beyond a multiple of its size.
 *
 * @param count of cases
 * @param seed with a case's number makes it again
 * @throws Error that names the case, with what went wrong as its cause
 */
export async function fuzz(
  target: Target,
  count: number,
  seed: number,
  { first = 0, onCase }: FuzzOptions = {},
): Promise<Tally> {
  const tally: Tally = { accepted: 0, refused: {}, slowest: 0, memory: 0, heap: 0, duration: 0 };
  const begin = performance.now();
  for (let number = first; number < first + count; number++) {
    onCase?.(target.name, number);
    try {
      await readCase(target, new TestRandom(`${target.name} ${number}`, seed), tally);
    } catch (error) {
      throw new Error(`${target.name}, seed ${seed}, case ${number}: ${(error as Error)?.message}`, { cause: error });
    }
    // Finalizers and signals have their turn.
    if (number % 1000 === 0) await turn();
  }
  tally.duration = performance.now() - begin;
  return tally;
}

async function readCase(target: Target, random: TestRandom, tally: Tally): Promise<void> {
  const { size, valid, read } = target.make(random);
  const before = process.memoryUsage();
  const begin = performance.now();
  let refusal: unknown = null;
  try {
    const result = read();
    if (result instanceof Promise) await result;
  } catch (error) {
    refusal = error ?? new Error('nothing was thrown');
  }
  const time = performance.now() - begin;
  const after = process.memoryUsage();
  const added = after.arrayBuffers - before.arrayBuffers;
  const objects = after.heapUsed - before.heapUsed;
  tally.slowest = Math.max(tally.slowest, time);
  tally.memory = Math.max(tally.memory, added);
  tally.heap = Math.max(tally.heap, objects);
  if (time > mostTime) throw new Error(`took ${time} ms`);
  if (added > mostMemory * size + spare) throw new Error(`added ${added} bytes for ${size}`);
  if (objects > mostObjects * size + spareObjects) throw new Error(`added objects of ${objects} bytes for ${size}`);
  if (refusal === null) {
    tally.accepted++;
    return;
  }
  if (valid || !(refusal instanceof KalmanNormError) || !target.codes.includes(refusal.code)) throw refusal;
  if (refusal.message.length > longestMessage) throw new Error(`a message of ${refusal.message.length} characters`);
  tally.refused[refusal.code] = (tally.refused[refusal.code] ?? 0) + 1;
}
