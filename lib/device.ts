import { availableParallelism } from 'node:os';
import type { Precision } from './addon/contract.js';
import { native } from './addon/load.js';
import { findGpus, openCuda } from './cuda.js';
import { check, KalmanNormError } from './errors.js';
import { checkOptions, type OptionNames } from './options.js';
import { noScope } from './scope.js';
import { Device } from './tensor.js';

/** Options of {@link openDevice}. */
export interface DeviceOptions {
  /** Threads of the CPU device's kernels; 0, the default, for one a core that this process may use. */
  threads?: number;
  /** Bytes that the device's pool, with its recordings, may reserve; 0, the default, for no limit. */
  memoryLimit?: number;
  /**
   * How a CUDA device stores activations and multiplies them; weights, statistics and sums are float32 in all cases.
   * `fp32`, the default: float32 and full products. `tf32`: float32, products in tensor cores with 10 bits of mantissa.
   * `fp16` and `bf16`: half the memory traffic. The CPU device knows `fp32` only.
   */
  precision?: Precision;
  /** Only convolution algorithms that give the same bits at each run; default true. For CUDA devices. */
  deterministic?: boolean;
  /** Time the algorithms of a convolution at its first use and keep the fastest; default false. For CUDA devices. */
  benchmark?: boolean;
}

const optionNames: OptionNames<DeviceOptions> = {
  threads: true,
  memoryLimit: true,
  precision: true,
  deterministic: true,
  benchmark: true,
};

/** A device that {@link openDevice} can open. */
export interface DeviceInfo {
  /** The name to open it by: `cpu`, `cuda:0`. */
  name: string;
  /** Such as `NVIDIA H200, compute capability 9.0`. */
  description: string;
  /** Bytes of the device's own memory; absent for the CPU. */
  memory?: number;
}

/**
 * Opens a device.
 *
 * @param name `cpu`, or `cuda:N` for the N-th NVIDIA GPU
 * @throws KalmanNormError `DEVICE_UNAVAILABLE` where it isn't built or isn't there, `INVALID_ARGUMENT` for other names
 */
export function openDevice(name = 'cpu', options: DeviceOptions = {}): Device {
  checkOptions('openDevice', options, optionNames);
  const { threads = 0, memoryLimit = 0 } = options;
  check(
    Number.isInteger(threads) && threads >= 0 && threads <= 1024,
    'INVALID_ARGUMENT',
    `openDevice: threads must be a whole number from 0 to 1024, got ${threads}`,
  );
  check(
    Number.isFinite(memoryLimit) && memoryLimit >= 0,
    'INVALID_ARGUMENT',
    `openDevice: memoryLimit must not be negative, got ${memoryLimit}`,
  );
  const { precision = 'fp32', deterministic = true, benchmark = false } = options;
  check(
    ['fp32', 'tf32', 'fp16', 'bf16'].includes(precision),
    'INVALID_ARGUMENT',
    `openDevice: precision must be fp32, tf32, fp16 or bf16, got ${precision}`,
  );
  if (name === 'cpu') {
    check(
      precision === 'fp32',
      'INVALID_ARGUMENT',
      `openDevice: the CPU device knows precision fp32 only, got ${precision}`,
    );
    return noScope(() => new Device(native.createCpuDevice({ threads, memoryLimit }), precision));
  }
  const cuda = openCuda(name, { memoryLimit, precision, deterministic, benchmark });
  if (cuda) return noScope(() => new Device(cuda, precision));
  throw new KalmanNormError('INVALID_ARGUMENT', `openDevice: expected "cpu" or "cuda:N", got "${name}"`);
}

/**
 * The devices of this machine: the CPU, then its NVIDIA GPUs. Where there should be GPUs but aren't,
 * {@link cudaProblem} tells why.
 */
export function devices(): DeviceInfo[] {
  const cpu = { name: 'cpu', description: `${availableParallelism()} cores` };
  const gpus = findGpus().gpus.map(({ name, capability, memory }, i) => ({
    name: `cuda:${i}`,
    description: `${name}, compute capability ${capability}`,
    memory,
  }));
  return [cpu, ...gpus];
}

/** Why no GPU can be used: what was looked for, where, what was found, and the remedy. Null where one can. */
export function cudaProblem(): string | null {
  return findGpus().problem;
}
