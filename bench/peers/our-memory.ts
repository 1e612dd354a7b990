import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Precision } from '../../lib/index.js';
import type { TrainingStepOptions } from '../support/training-step.js';

/** What `memory.ts` is to measure. */
export type MemoryTask = TrainingStepOptions & { device: string; precision: Precision; threads: number };

/** Bytes; `baseline` and `peak` are of the process, before the network is made and at most. */
export interface MemoryUse {
  baseline: number;
  peak: number;
  /** At most in use by tensors, the recorded step's own included. */
  tensors: number;
}

/** Peak memory of a training step, in a process of its own. */
export async function measureOurMemory(task: MemoryTask): Promise<MemoryUse> {
  const child = fork(fileURLToPath(new URL('memory.ts', import.meta.url)), [JSON.stringify(task)]);
  const result: Promise<[MemoryUse]> = once(child, 'message') as Promise<[MemoryUse]>;
  const exit = once(child, 'exit').then(([code]) => {
    throw new Error(`the process that measures memory ended with code ${code}`);
  });
  const [use] = await Promise.race([result, exit]);
  await exit.catch(() => {});
  return use;
}
