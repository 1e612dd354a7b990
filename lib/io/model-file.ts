import { KalmanNormError } from '../errors.js';
import type { Module, StateValues } from '../nn/module.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';

/**
 * Writes a module's parameters and buffers as a safetensors file, aside and renamed.
 *
 * @param metadata small values that are kept in the file's header
 */
export async function saveModel(
  path: string,
  module: Module,
  metadata: Record<string, string | number> = {},
): Promise<void> {
  const values = await module.stateValues();
  const tensors = Object.fromEntries(
    [...values].map(([name, { shape, data }]) => [
      name,
      { dtype: 'F32' as const, shape, data: data as Float32Array<ArrayBuffer> },
    ]),
  );
  await writeSafetensors(
    path,
    tensors,
    Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
  );
}

/**
 * Loads a module's parameters and buffers from a safetensors file.
 *
 * @returns the file's metadata
 * @throws KalmanNormError `FILE_NOT_FOUND` or `FILE_CORRUPT`, or `STATE_MISMATCH` naming the file where its entries
 *   aren't those of the module; nothing is loaded then
 */
export async function loadModel(path: string, module: Module): Promise<Record<string, string>> {
  const file = await readSafetensors(path);
  const state: StateValues = new Map();
  for (const [name, { shape, data, dtype }] of file.tensors) {
    if (dtype !== 'F32') throw new KalmanNormError('STATE_MISMATCH', `${path}: ${name} must be F32, got ${dtype}`);
    state.set(name, { shape, data });
  }
  try {
    module.loadStateDict(state);
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError(error.code, `${path}: ${error.message}`, { cause: error });
  }
  return { ...file.metadata };
}
