import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { Device } from '../tensor.js';
import { GlooProcessGroup, glooProblem } from './gloo-group.js';
import type { ProcessGroup, ProcessGroupBackend } from './group.js';
import { NcclProcessGroup, ncclProblem } from './nccl-group.js';
import { type ProcessPlace, processPlace } from './process-environment.js';
import { Rendezvous } from './rendezvous.js';

/** Options of {@link openProcessGroup}. */
export interface ProcessGroupOptions {
  /** Default: what the launcher says; see {@link processPlace}. */
  place?: ProcessPlace;
  /** A folder that is new for each run, and that all processes see; default: `KALMAN_NORM_RENDEZVOUS`, by the launcher. */
  rendezvous?: string;
  /** Seconds until whoever doesn't come or answer counts as hung; default 60. */
  timeout?: number;
  /** Whatever has to be the same in all processes, such as their flags; default: nothing. */
  configuration?: string;
  /** The device that trains, this process's own; default: none, and values of the host only. */
  device?: Device;
  /**
   * `nccl`, the default with a CUDA device: gradients are reduced between GPUs, on the device's stream. `gloo`, the default
   * otherwise: in memory of the host.
   */
  backend?: ProcessGroupBackend;
}

const optionNames: OptionNames<ProcessGroupOptions> = {
  place: true,
  rendezvous: true,
  timeout: true,
  configuration: true,
  device: true,
  backend: true,
};

/** Why no process group can be opened here with these options, and the remedy; null where one can. */
export function processGroupProblem(options: Pick<ProcessGroupOptions, 'device' | 'backend'> = {}): string | null {
  // Whoever wants to know may ask with all options.
  checkOptions<ProcessGroupOptions>('processGroupProblem', options, optionNames);
  return problemOf(checkedBackend('processGroupProblem', options));
}

/**
 * Joins the group of processes that a launcher started, over Gloo or NCCL; resolves when all have come. Connections don't
 * leave the machine, as they have no password.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for options outside their domain, or without a launcher; `DEVICE_UNAVAILABLE`
 *   where Gloo isn't built or NCCL isn't found; `GROUP_FAILED` naming the ranks that are taken, missing, or of another
 *   configuration
 *
 * @example
 * // npx kalman-norm launch --processes 2 train.ts
 * const device = openDevice(`cuda:${process.env.KALMAN_NORM_RANK}`);
 * const group = await openProcessGroup({ device });
 * const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 128, group });
 */
export async function openProcessGroup(options: ProcessGroupOptions = {}): Promise<ProcessGroup> {
  checkOptions('openProcessGroup', options, optionNames);
  const place = options.place ?? processPlace();
  const { rendezvous = process.env.KALMAN_NORM_RENDEZVOUS, timeout = 60, configuration = '' } = options;
  check(
    place !== null,
    'INVALID_ARGUMENT',
    'openProcessGroup: no launcher gave a rank: start with "npx kalman-norm launch --processes N", or give options.place',
  );
  const { rank, size } = place;
  check(
    Number.isInteger(rank) && Number.isInteger(size) && rank >= 0 && rank < size,
    'INVALID_ARGUMENT',
    `openProcessGroup: rank must be a whole number below the number of processes, got ${rank} of ${size}`,
  );
  check(
    Number.isFinite(timeout) && timeout > 0,
    'INVALID_ARGUMENT',
    `openProcessGroup: timeout must be a positive number of seconds, got ${timeout}`,
  );
  check(
    typeof rendezvous === 'string' && rendezvous !== '',
    'INVALID_ARGUMENT',
    'openProcessGroup: rendezvous must be a folder, new for each run; or set KALMAN_NORM_RENDEZVOUS',
  );
  const chosen = checkedBackend('openProcessGroup', options);
  const { backend, device } = chosen;
  const problem = problemOf(chosen);
  check(problem === null, 'DEVICE_UNAVAILABLE', `openProcessGroup: ${problem}`);
  endWithLauncher();
  const meeting = new Rendezvous(rendezvous, { rank, size });
  await meeting.meet({ backend, configuration }, timeout);
  return backend === 'nccl'
    ? NcclProcessGroup.connect({ rank, size }, meeting, timeout, device as Device)
    : GlooProcessGroup.connect({ rank, size }, meeting, timeout);
}

interface Chosen {
  backend: ProcessGroupBackend;
  device: Device | undefined;
}

function problemOf({ backend, device }: Chosen): string | null {
  return backend === 'nccl' ? ncclProblem(device as Device) : glooProblem();
}

function checkedBackend(name: string, { device, backend }: Pick<ProcessGroupOptions, 'device' | 'backend'>): Chosen {
  check(
    device === undefined || device instanceof Device,
    'INVALID_ARGUMENT',
    () => `${name}: device must be a device, got ${String(device)}`,
  );
  check(
    backend === undefined || backend === 'gloo' || backend === 'nccl',
    'INVALID_ARGUMENT',
    () => `${name}: backend must be gloo or nccl, got ${String(backend)}`,
  );
  const onCuda = device?.name.startsWith('cuda') ?? false;
  check(
    backend !== 'nccl' || onCuda,
    'INVALID_ARGUMENT',
    () => `${name}: backend nccl needs a CUDA device in options.device, got ${device?.name ?? 'none'}`,
  );
  return { backend: backend ?? (onCuda ? 'nccl' : 'gloo'), device };
}

/** No process outlives its launcher, whose channel closes however it ends. */
function endWithLauncher(): void {
  if (!process.channel || process.env.KALMAN_NORM_RANK === undefined) return;
  process.once('disconnect', () => process.exit(1));
  // Which would keep the process alive.
  process.channel.unref();
}
