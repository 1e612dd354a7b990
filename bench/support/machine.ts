import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import type { Device, Precision } from '../../lib/index.js';

/** The state that figures were measured in; without it they mean nothing. */
export interface Machine {
  processor: string;
  cores: number;
  /** What the device says of itself: its threads, its libraries. */
  device: string;
  precision: Precision;
  /** Whether the device times the algorithms of its convolutions. */
  benchmark: boolean;
  /** Load average over 1, 5 and 15 minutes. */
  load: readonly number[];
  memoryBytes: number;
  node: string;
  platform: string;
  time: string;
}

/** Looks at the machine now. */
export function inspectMachine(
  { description, precision }: Pick<Device, 'description' | 'precision'>,
  { benchmark }: { benchmark: boolean },
): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown processor',
    cores: availableParallelism(),
    device: description,
    precision,
    benchmark,
    load: loadavg(),
    memoryBytes: totalmem(),
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    time: new Date().toISOString(),
  };
}

/** The machine in one line, with a warning where others use it. */
export function describeMachine(machine: Machine): string {
  const { processor, cores, device, precision, benchmark, load, memoryBytes, node, platform } = machine;
  const loads = load.map((value) => value.toFixed(2)).join(' ');
  const line =
    `${processor}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB | ${device} | ` +
    `${precision}${benchmark ? ', timed algorithms' : ''} | load ${loads} | Node ${node}, ${platform}`;
  return isBusy(machine) ? `${line}\nThe machine is busy: don't trust these figures.` : line;
}

/** Whether other processes had much of the machine in the last minute. */
export function isBusy({ load: [recent = 0], cores }: Machine): boolean {
  return recent > 0.25 * cores;
}
