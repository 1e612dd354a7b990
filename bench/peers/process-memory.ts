import { readFile } from 'node:fs/promises';

/** Bytes that a process has, and has had at most, in physical memory. */
export interface ProcessMemory {
  now: number;
  peak: number;
}

/**
 * Memory of this process. Linux says it in /proc; `getrusage`, which is asked elsewhere, counts what the parent process
 * had when it forked.
 */
export async function processMemory(): Promise<ProcessMemory> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => null);
  if (status === null) return { now: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 };
  const field = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { now: field('VmRSS'), peak: field('VmHWM') };
}
