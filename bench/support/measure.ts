import { Bench } from 'tinybench';
import type { Device } from '../../lib/index.js';
import { type Summary, summarize } from './statistics.js';

/** How long and how often to measure. */
export interface Effort {
  /** Milliseconds of a case. */
  time: number;
  /** Samples at least. */
  samples: number;
}

/** What a measured body reports of a sample. */
export interface Sample {
  /** Milliseconds that count. */
  duration: number;
  /** Milliseconds that the sample took in all, where that's more. */
  cost?: number;
}

/** Milliseconds that a sample of enqueued work should take, so that waiting for its end (some 0.05) doesn't count. */
const SAMPLE_TIME = 10;

/**
 * Measures work on a device: enqueues some of it, waits for the end, divides.
 *
 * @param work enqueues so many operations
 * @returns milliseconds of one operation
 */
export async function measureWork(device: Device, work: (count: number) => void, effort: Effort): Promise<Summary> {
  const timed = async (count: number) => {
    const begin = performance.now();
    work(count);
    await device.synchronize();
    return performance.now() - begin;
  };
  // The first run makes primitives and fills the memory pool; the second tells how many make a sample.
  await timed(1);
  const single = await timed(1);
  const target = Math.min(SAMPLE_TIME, effort.time);
  const count = Math.min(1000, Math.max(1, Math.ceil(target / Math.max(single, 1e-3))));
  return measure(async () => {
    const cost = await timed(count);
    return { duration: cost / count, cost };
  }, effort);
}

/** Measures a body that times itself. */
export async function measure(body: () => Promise<Sample>, { time, samples }: Effort): Promise<Summary> {
  const bench = new Bench({
    time,
    iterations: samples,
    warmupTime: time / 10,
    warmupIterations: 1,
    retainSamples: true,
    throws: true,
  });
  bench.add(
    'case',
    async () => {
      const { duration, cost = duration } = await body();
      return { overriddenDuration: duration, overriddenIterationCost: cost };
    },
    { async: true },
  );
  const [task] = await bench.run();
  const result = task?.result;
  if (result?.state !== 'completed') throw new Error(`the benchmark ended ${result?.state ?? 'without a task'}`);
  return summarize(result.latency.samples ?? []);
}

/** Milliseconds of a body from its call until its promise resolves. */
export async function measureLatency(body: () => Promise<unknown>, effort: Effort): Promise<Summary> {
  return measure(async () => {
    const begin = performance.now();
    await body();
    return { duration: performance.now() - begin };
  }, effort);
}
