import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CudaDeviceInfo, CudaOptions, NativeDevice } from './addon/contract.js';
import { buildFolder, native } from './addon/load.js';
import { KalmanNormError } from './errors.js';

/** The emulated device, for tests: the CUDA device's sources compiled for the CPU. Not in the package. */
const EMULATED = 'cuda-emulated';

/** The CUDA device's shared library of a device name: built in the package, or where the environment says. */
function libraryOf(name: string): string {
  return isEmulated(name)
    ? (process.env.KN_EMULATION_LIBRARY ?? join(buildFolder, '..', 'emulation', 'kalman_norm_cuda_emulated.so'))
    : (process.env.KN_CUDA_LIBRARY ?? join(buildFolder, 'kalman_norm_cuda.so'));
}

function isEmulated(name: string): boolean {
  return name === EMULATED || name.startsWith(`${EMULATED}:`);
}

/** `cuda:N` and `cuda-emulated:N` as N, `cuda-emulated` as 0, other names as null. */
function indexOf(name: string): number | null {
  if (name === EMULATED) return 0;
  const match = /^cuda(?:-emulated)?:(\d+)$/.exec(name);
  return match ? Number(match[1]) : null;
}

/** NCCL of a device: by its name, where it is looked for, or where the environment says. The emulated device has its own. */
export function ncclLibrary(name: string): string {
  return isEmulated(name)
    ? (process.env.KN_EMULATION_NCCL ?? join(buildFolder, '..', 'emulation', 'libnccl.so.2'))
    : (process.env.KN_NCCL_LIBRARY ?? 'libnccl.so.2');
}

/** A CUDA device, or null where the name isn't one's. */
export function openCuda(name: string, options: Omit<CudaOptions, 'index'>): NativeDevice | null {
  const index = indexOf(name);
  if (index === null) return null;
  try {
    return native.createCudaDevice({ library: libraryOf(name), ...options, index });
  } catch (error) {
    if (!(error instanceof KalmanNormError) || error.code !== 'DEVICE_UNAVAILABLE') throw error;
    throw new KalmanNormError(
      'DEVICE_UNAVAILABLE',
      `openDevice: ${name} was asked for, but ${error.message}. The CPU is always there: "--device cpu" on the command line, openDevice('cpu') in code.`,
    );
  }
}

/** The GPUs, or the reason why none can be used. */
export function findGpus(): { gpus: CudaDeviceInfo[]; problem: string | null } {
  try {
    return { gpus: native.cudaDevices({ library: libraryOf('cuda:0') }), problem: null };
  } catch (error) {
    if (!(error instanceof KalmanNormError) || error.code !== 'DEVICE_UNAVAILABLE') throw error;
    return { gpus: [], problem: error.message };
  }
}

/** Whether the emulated device has been built. */
export function hasEmulation(): boolean {
  return existsSync(libraryOf(EMULATED));
}
