/** Runs in several processes: which of them does what, and what of each a checkpoint keeps. */

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { check } from '../lib/errors.js';
import {
  type Device,
  type Module,
  type NormSpec,
  openProcessGroup,
  type ProcessGroup,
  processGroupProblem,
  processPlace,
  type Stateful,
  type StateValues,
  type Tensor,
} from '../lib/index.js';
import { launch } from '../tools/launch.mjs';
import type { RunConfiguration } from './training.js';

/** How many processes train: as many as a launcher has started, else one for each device of a list such as `cuda:0,cuda:1`. */
export function processesOf(device: string): number {
  return processPlace()?.size ?? device.split(',').length;
}

/** Whether a run has to be started in several processes, which nobody has done. */
export function isToBeLaunched({ processes }: RunConfiguration): boolean {
  return processes > 1 && processPlace() === null;
}

/** Starts a run in as many processes as it has devices. @returns the exit code */
export function launchAll({ processes }: RunConfiguration, script: string, args: readonly string[]): Promise<number> {
  // Long enough for a step and a model file behind Ctrl-C.
  return launch(['--processes', String(processes), '--grace', '60', fileURLToPath(script), ...args]);
}

/** What the log says of the launcher, so that a restart knows its own run from an earlier one in the folder. */
export function launchFacts(): { launch?: string } {
  const id = process.env.KALMAN_NORM_LAUNCH;
  return id ? { launch: id } : {};
}

/** Whether this is a restart by the launcher, of the run that a log tells of. */
export function isRestarted(log: object): boolean {
  const { KALMAN_NORM_RESTART: restart = '0', KALMAN_NORM_LAUNCH: id } = process.env;
  return Number(restart) > 0 && id !== undefined && (log as { launch?: unknown }).launch === id;
}

/**
 * Joins the processes of this run; null where it is alone. GPUs whose NCCL isn't found talk over Gloo.
 *
 * @param note is told of that
 */
export async function joinProcesses(
  { processes, flags }: RunConfiguration,
  device: Device,
  note: (text: string) => void,
): Promise<ProcessGroup | null> {
  if (processes === 1) return null;
  const problem = processGroupProblem({ device });
  if (problem !== null && processGroupProblem() === null) note(`${problem}; gradients go through the host's memory`);
  const backend = problem === null ? {} : ({ backend: 'gloo' } as const);
  return openProcessGroup({ device, ...backend, configuration: JSON.stringify(flags) });
}

/** The device of this process, and its threads: where nothing is said, its share of the cores. */
export function ownDevice({ device, threads, processes }: RunConfiguration): { name: string; threads: number } {
  const names = device.split(',');
  const share = processes > 1 ? Math.max(1, Math.floor(availableParallelism() / processes)) : 0;
  return { name: (names[ownRank()] ?? names[0]) as string, threads: threads || share };
}

/** Which process this is, of those that train together. */
export function ownRank(): number {
  return processPlace()?.rank ?? 0;
}

/**
 * Refuses what several processes can't share.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT`
 */
export function checkProcesses(device: string, processes: number, norm: NormSpec, syncStatistics: boolean): void {
  const devices = device.split(',').length;
  check(
    devices === 1 || devices === processes,
    'INVALID_ARGUMENT',
    `--device: expected one device, or one for each of the ${processes} processes, got "${device}"`,
  );
  const splits = 'splits' in norm ? (norm.splits ?? 1) : processes;
  check(
    splits % processes === 0,
    'INVALID_ARGUMENT',
    `--splits: expected a multiple of the ${processes} processes, each of which normalizes its own part of a batch, got ${splits}`,
  );
  check(
    processes > 1 || !syncStatistics,
    'INVALID_ARGUMENT',
    '--sync-statistics has no meaning for a run in one process',
  );
}

/** The normalization of a process's part of a batch: splits are those of the whole batch. */
export function ownPart(norm: NormSpec, processes: number): NormSpec {
  return processes > 1 && 'splits' in norm && norm.splits ? { ...norm, splits: norm.splits / processes } : norm;
}

/**
 * Running averages and filters' states of all processes, as a part of the checkpoint that rank 0 alone writes: weights are
 * the same in all, these aren't.
 */
export class ProcessStatistics implements Stateful {
  private readonly collected: StateValues = new Map();

  constructor(
    private readonly model: Module,
    private readonly group: ProcessGroup,
  ) {}

  /** Brings the present values of all processes together; all must call it. */
  async collect(): Promise<void> {
    for (const [name, tensor] of this.model.namedBuffers()) {
      const data = await tensor.data();
      const all = await this.group.allGather(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      for (const [rank, bytes] of all.entries()) {
        const values = new (data.constructor as typeof Float32Array)(bytes.slice().buffer);
        this.collected.set(`${rank}.${name}`, { shape: tensor.shape, data: values });
      }
    }
  }

  stateDict(): Map<string, Tensor> {
    const buffers = [...this.model.namedBuffers()];
    const ranks = Array.from({ length: this.group.size }, (_, rank) => rank);
    return new Map(ranks.flatMap((rank) => buffers.map(([name, tensor]) => [`${rank}.${name}`, tensor] as const)));
  }

  async stateValues(): Promise<StateValues> {
    return this.collected;
  }

  /** Takes this process's own. */
  loadStateDict(state: StateValues): void {
    for (const [name, tensor] of this.model.namedBuffers()) {
      tensor.write((state.get(`${this.group.rank}.${name}`) as { data: Float32Array }).data);
    }
  }
}
