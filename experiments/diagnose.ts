/**
 * Tells what the filter of a run's network is doing, layer by layer: `npm run diagnose -- RUN_DIR [--steps N]`.
 */
import { join } from 'node:path';
import { check } from '../lib/errors.js';
import { CheckpointFolder, Sgd, Trainer } from '../lib/index.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { runAsProgram, runCommand } from './command.js';
import { type Diagnosis, FilterExaminer, rounded } from './diagnosis/measure.js';
import { renderLayers } from './diagnosis/table.js';
import { hasFilter } from './norms.js';
import { scheduleOf } from './options.js';
import { storedConfiguration } from './resume.js';
import { openRun, runWords } from './stored-run.js';

const flags = {
  steps: { type: 'string' },
  threads: { type: 'string' },
} as const;

const usage = `usage: npm run diagnose -- RUN_DIR [--steps N] [--threads N]

Shows a Kalman network's last model some batches, and tells how far what its filters believe, observe and normalize by is
from the statistics of all the images together; docs/filter.md explains the columns. Writes RUN_DIR/diagnosis.json.

  --steps N    batches to look at, once with weights held and once in training. Default: 50
  --threads N  of the CPU device. Default: as the run`;

/** The diagnosis of a run, as `diagnosis.json` has it. */
export interface RunDiagnosis extends Diagnosis {
  /** Of the model. */
  readonly epoch: number;
  readonly step: number;
  /** Batches that were looked at. */
  readonly batches: number;
}

/** Options of {@link diagnose}. */
export interface DiagnoseOptions {
  /** Batches to look at; default 50. */
  readonly steps?: number;
  /** Of the CPU device, 0 for one a core; default: as the run. */
  readonly threads?: number | undefined;
}

/**
 * Examines the filters of a run's last model, and writes `diagnosis.json` into its folder.
 *
 * @param folder the run's, with `log.jsonl` and `model.safetensors`; the momentum is taken from a checkpoint of the model's
 *   step, if there is one
 * @throws KalmanNormError `INVALID_ARGUMENT` for a network without a filter; `DIVERGED` where its loss isn't finite; as
 *   reading log, model, checkpoint and data
 */
export async function diagnose(folder: string, options: DiagnoseOptions = {}): Promise<RunDiagnosis> {
  const run = await storedConfiguration(folder);
  const { norm, batchSize, accumulate = 1, seed, momentum, weightDecay } = run;
  const { steps = 50, threads = run.threads } = options;
  check(hasFilter(norm), 'INVALID_ARGUMENT', `RUN_DIR: a network with ${norm.type} norm has no filter`);
  const { model, info, mean, dataset, ...stored } = await openRun(folder, run, { steps, threads });
  await using device = stored.device;
  const values = await model.stateValues();
  const [epoch, step] = [Number(info.metadata.epoch), Number(info.metadata.step)];
  const learningRate = scheduleOf(run)(epoch);
  using optimizer = new Sgd(device, model.namedParameters(), learningRate, { momentum, weightDecay });
  using trainer = new Trainer({ device, model, optimizer, dataset, batchSize, accumulate, seed });
  const found = await new CheckpointFolder(join(folder, 'checkpoints'), { model, optimizer, trainer }).load();
  const momenta = found?.step === step ? await optimizer.stateValues() : null;
  using examiner = new FilterExaminer({ device, configuration: { ...run, accumulate }, dataset, mean, steps });
  const diagnosis = await examiner.examine({ model: values, optimizer: momenta, learningRate });
  const result = { epoch, step, batches: examiner.steps, ...diagnosis };
  await writeFileAtomic(join(folder, 'diagnosis.json'), `${JSON.stringify(rounded(result), null, 2)}\n`);
  return result;
}

/** The command. Returns the exit code. */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  return runCommand({ usage, flags }, args, print, async ({ positionals, values }) => {
    const { folder, steps, threads } = runWords(positionals, values);
    const { epoch, batches, layers, gradientNorm } = await diagnose(folder, { steps, threads });
    print(`after epoch ${epoch}, over ${batches} batches; norm of the gradients ${gradientNorm.toPrecision(3)}`);
    print(renderLayers(layers));
    print(join(folder, 'diagnosis.json'));
    return 0;
  });
}

await runAsProgram(import.meta.url, main);
