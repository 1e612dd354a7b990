import { join } from 'node:path';
import { check } from '../lib/errors.js';
import {
  CifarResNet,
  type Dataset,
  type Device,
  limit,
  loadModel,
  type ModelInfo,
  type NormSpec,
  openDataset,
  openDevice,
} from '../lib/index.js';
import { number } from './flags.js';
import type { Configuration } from './options.js';

/**
 * What a command that looks at a run was given: its folder, `--steps` and `--threads`.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT`, naming what is missing or wrong
 */
export function runWords(
  positionals: readonly string[],
  flags: { steps?: string | undefined; threads?: string | undefined },
): { folder: string; steps: number; threads: number | undefined } {
  const [folder] = positionals;
  check(
    folder !== undefined && positionals.length === 1,
    'INVALID_ARGUMENT',
    `RUN_DIR: expected one folder of a run, got ${positionals.length}`,
  );
  const isCount = (value: number) => Number.isInteger(value) && value >= 1;
  const steps = number('steps', flags.steps, 50, isCount, 'a whole number of at least 1');
  const threads = flags.threads === undefined ? undefined : number('threads', flags.threads, 0, isCount, 'a count');
  return { folder, steps, threads };
}

/** A run's network as it was saved last, and what it takes to go on with it. */
export interface StoredRun {
  readonly device: Device;
  readonly model: CifarResNet;
  /** What the model's file says. */
  readonly info: ModelInfo;
  /** What training subtracted from images. */
  readonly mean: Float32Array | readonly number[];
  readonly dataset: Dataset;
}

/**
 * Opens device, data and network of a run; the caller disposes the device.
 *
 * @param options.steps how many training batches are wanted
 * @param options.threads of the CPU device
 * @param options.norm default: the run's
 * @throws KalmanNormError as reading model and data
 */
export async function openRun(
  folder: string,
  run: Configuration,
  options: { steps: number; threads: number; norm?: NormSpec },
): Promise<StoredRun> {
  const { n, weightStandardization, seed, precision, batchSize } = run;
  const { steps, threads, norm = run.norm } = options;
  const dataset = limit(await openDataset({ name: run.dataset, dataDir: run.dataDir ?? undefined }), {
    train: Math.min(steps * batchSize, run.limitTrain ?? Number.POSITIVE_INFINITY),
    ...(run.limitTest && { test: run.limitTest }),
  });
  // One of several processes is enough.
  const device = openDevice(run.device.split(',')[0], { threads, precision });
  try {
    const model = new CifarResNet(device, { n, norm, weightStandardization, classes: dataset.classNames.length, seed });
    const file = join(folder, 'model.safetensors');
    const info = await loadModel(file, model);
    const { mean } = info.normalization ?? {};
    check(mean !== undefined, 'FILE_CORRUPT', `${file}: expected the mean of a run's images, got none`);
    return { device, model, info, mean, dataset };
  } catch (error) {
    await device.dispose();
    throw error;
  }
}
