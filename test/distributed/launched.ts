import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Trained, Training } from './train-worker.js';

/** Defines tests one at a time, since each starts several processes; skipped, saying why, where there is a problem. */
export function groupTests(problem: string | null) {
  return (title: string, body: (t: ExecutionContext) => Promise<void>): void => {
    if (problem) test.skip(`SKIPPED, ${problem}: ${title}`, () => {});
    else test.serial(title, body);
  };
}

/** How a program ended, and what it printed. */
export interface Run {
  code: number | null;
  output: string;
  milliseconds: number;
}

/** What is done about a program: more of its environment, and `during`, which gets its process. */
export interface RunOptions {
  environment?: NodeJS.ProcessEnv;
  during?: (child: ChildProcess) => void;
}

/** Runs a program to its end, under the test's time-out. */
export function runNode(args: readonly string[], { environment, during }: RunOptions = {}): Promise<Run> {
  const began = performance.now();
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text;
    });
  }
  during?.(child);
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, output, milliseconds: performance.now() - began }));
  });
}

/** Runs a program in several processes, or what `npx kalman-norm launch` takes before it. */
export function launch(processes: number, args: readonly string[], environment?: NodeJS.ProcessEnv): Promise<Run> {
  return runNode(['tools/kalman-norm.mjs', 'launch', '--processes', String(processes), ...args], {
    ...(environment && { environment }),
  });
}

/** Trains by train-worker.ts in some processes; results pass through files of the folder. */
export function trainer(folder: string, defaults: Partial<Training> = {}) {
  let runs = 0;
  return async (processes: number, training: Training): Promise<Trained> => {
    const out = join(folder, `${++runs}.json`);
    const args = ['test/distributed/train-worker.ts', JSON.stringify({ ...training, ...defaults }), out];
    const { code, output } = await (processes === 1 ? runNode(['--import', 'tsx', ...args]) : launch(processes, args));
    if (code !== 0) throw new Error(output);
    return JSON.parse(await readFile(out, 'utf8')) as Trained;
  };
}

/**
 * Largest difference of two networks' values: as a share of each tensor's largest value, which rounding is one of, and of the
 * longest way that any value of the tensor has come, which a mistake is one of. Of a shift of 6 that has come 1e-5 far, one
 * float more or less is 4 % of the way: where no value of a tensor is further off than two floats, that doesn't count.
 */
export function difference(a: Trained, b: Trained): { ofValue: number; ofWay: number } {
  const shares = Object.keys(a.start).map((name) => {
    const [start, one, other] = [a.start, a.weights, b.weights].map((values) => values[name] as readonly number[]);
    const largest = (from: readonly number[] = [], to?: readonly number[]) =>
      Math.max(...from.map((value, i) => Math.abs(value - (to?.[i] ?? 0))));
    const apart = largest(one, other);
    // The threshold of an activation doesn't move where all its inputs lie above.
    const ofValue = apart === 0 ? 0 : apart / largest(one);
    return [ofValue, ofValue < 2 ** -22 ? 0 : apart / largest(one, start)];
  });
  const [ofValue, ofWay] = [0, 1].map((which) => Math.max(...shares.map((share) => share[which] as number)));
  return { ofValue: ofValue as number, ofWay: ofWay as number };
}

/** The lines of JSON that processes of a launcher printed. */
export function linesOf(output: string): unknown[] {
  return [...output.matchAll(/^\[\d\] (\{.*)$/gm)].map(([, line]) => JSON.parse(line as string));
}
