import { pathToFileURL } from 'node:url';
import {
  CheckpointFolder,
  CifarResNet,
  type Dataset,
  type Device,
  type InputNormalization,
  KalmanNormError,
  limit,
  loadModel,
  type ModelDescription,
  openDataset,
  openDevice,
  type Schedule,
  Sgd,
  saveModel,
  type Tensor,
  Trainer,
} from '../lib/index.js';
import { filterRows } from '../lib/ops/adaptive-kalman.js';
import { Console } from './console.js';
import type { LayerFigures } from './diagnosis/figures.js';
import { filterScalars } from './diagnosis/followed.js';
import { FilterExaminer, rounded } from './diagnosis/measure.js';
import { inFlags } from './flags.js';
import { type Configuration, type Experiment, scheduleOf, usage } from './options.js';
import { configurationOf } from './resume.js';
import { RunFolder } from './run-folder.js';
import { EventFile } from './tensorboard.js';

/** Figures of an epoch, as `log.jsonl` has them. Errors are shares from 0 to 1. */
interface EpochRecord {
  type: 'epoch';
  epoch: number;
  step: number;
  learningRate: number;
  trainLoss: number;
  trainError: number;
  validationLoss: number;
  validationError: number;
  imagesPerSecond: number;
  seconds: number;
  /** Bytes of the device's tensors at their most since the run, or what of it was resumed, began. */
  peakMemory: number;
  /** Bytes that the process has in memory. */
  residentMemory: number;
}

/** Runs an experiment if its script is the program that Node was started with. */
export async function main(experiment: Experiment, script: string): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== script) return;
  try {
    const configuration = await configurationOf(experiment, process.argv.slice(2));
    if (!configuration) console.log(usage(experiment, process.argv.slice(2)));
    else process.exitCode = await run(configuration);
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    console.error(`${experiment.name}: ${inFlags(error.message)}`);
    process.exitCode = 1;
  }
}

/**
 * Trains a network as configured; writes `log.jsonl`, `model.safetensors` (the last), `best.safetensors`, checkpoints and
 * TensorBoard's events into the run's folder.
 *
 * @returns the exit code: 0, or 130 after Ctrl-C
 */
export async function run(configuration: Configuration): Promise<number> {
  const { device: deviceName, precision, threads, limitTrain, limitTest } = configuration;
  const console = new Console();
  const device = openDevice(deviceName, { threads, precision });
  const interrupt = interruption(console);
  try {
    const whole = await openDataset({
      name: configuration.dataset,
      dataDir: configuration.dataDir ?? undefined,
      download: configuration.download,
      onProgress: (progress) => console.download(progress),
      signal: interrupt.signal,
    });
    const dataset = limit(whole, { ...(limitTrain && { train: limitTrain }), ...(limitTest && { test: limitTest }) });
    return await train(configuration, device, dataset, console, interrupt.signal);
  } finally {
    interrupt.release();
    console.close();
    device.dispose();
  }
}

async function train(
  configuration: Configuration,
  device: Device,
  dataset: Dataset,
  console: Console,
  signal: AbortSignal,
): Promise<number> {
  const {
    epochs,
    batchSize,
    accumulate,
    learningRate,
    agc,
    momentum,
    weightDecay,
    seed,
    eager,
    logDir,
    n,
    norm,
    weightStandardization,
  } = configuration;
  const classes = dataset.classNames.length;
  const model = new CifarResNet(device, { n, norm, weightStandardization, classes, seed });
  if (configuration.load) await loadModel(configuration.load, model);
  const schedule = scheduleOf(configuration);
  const reached = Array.from({ length: epochs }, (_, i) => schedule(i + 1)).includes(learningRate);
  if (!reached) {
    console.note(
      `${epochs} epochs of the reference's schedule never reach the learning rate ${learningRate}; --schedule short does`,
    );
  }
  const optimizer = new Sgd(device, model.namedParameters(), schedule(1), { momentum, weightDecay });
  const trainer = new Trainer({
    device,
    model,
    optimizer,
    dataset,
    batchSize,
    accumulate,
    seed,
    eager,
    // All but the classifier's, as in the paper.
    ...(agc && { adaptiveClip: { clipping: agc, parameters: featuresOf(model) } }),
  });
  const description = await trainer.describe();
  // Everything that can be refused has been by now.
  const folder = configuration.resume ? await RunFolder.reopen(logDir) : await createFolder(configuration, console);
  const facts = {
    classes,
    parameters: model.parameterCount(),
    deviceDescription: device.description,
    datasetNote: dataset.note ?? null,
    trainImages: dataset.train.count,
    testImages: dataset.test.count,
    stepsPerEpoch: trainer.stepsPerEpoch,
  };
  const { mean } = description.normalization as InputNormalization;
  const examiner = configuration.diagnose
    ? new FilterExaminer({ device, configuration, dataset, mean, steps: 16 })
    : null;
  const training = {
    device,
    configuration,
    model,
    optimizer,
    trainer,
    description,
    schedule,
    console,
    signal,
    examiner,
  };
  try {
    if (!configuration.resume) await folder.begin({ type: 'config', ...configuration, ...facts });
    console.start(configuration, schedule, device, dataset, model.parameterCount(), trainer.stepsPerEpoch);
    if (configuration.profile) device.setProfiling(true);
    return await trainInto(folder, training);
  } finally {
    if (configuration.profile) console.profile(device.profile());
    examiner?.dispose();
    await folder.release();
  }
}

function createFolder({ logDir, overwrite }: Configuration, console: Console): Promise<RunFolder> {
  const onMove = (from: string, to: string) => console.note(`moved the earlier run in ${from} to ${to}`);
  return RunFolder.create(logDir, { overwrite, onMove });
}

interface Training {
  device: Device;
  configuration: Configuration;
  model: CifarResNet;
  optimizer: Sgd;
  trainer: Trainer;
  description: ModelDescription;
  schedule: Schedule;
  console: Console;
  signal: AbortSignal;
  /** Where the filter is looked at. */
  examiner: FilterExaminer | null;
}

/** How far a run is; what a checkpoint has beside the tensors. */
interface Progress {
  epoch: number;
  step: number;
  /** The lowest validation error. */
  best: number | null;
}

/** Trains from where the folder's run is, to its end. */
async function trainInto(folder: RunFolder, training: Training): Promise<number> {
  const { configuration, device, model, optimizer, trainer, description, schedule, console, signal, examiner } =
    training;
  const { epochs, keep } = configuration;
  const checkpoints = new CheckpointFolder(folder.checkpoints, { model, optimizer, trainer }, { keep });
  let progress: Progress = { epoch: 0, step: 0, best: null };
  if (configuration.resume) {
    const found = await checkpoints.load();
    for (const warning of found?.warnings ?? []) console.note(`going on from an earlier checkpoint: ${warning}`);
    if (found) progress = found.data as Progress;
    await folder.rewind(progress.epoch);
    console.note(`going on behind epoch ${progress.epoch}`);
  }
  const events = await EventFile.create(folder.path);
  let writing: Promise<void> = Promise.resolve();
  let lastCheckpoint = performance.now();

  let layers: readonly LayerFigures[] = [];
  let { step } = progress;
  let best = progress.best ?? Number.POSITIVE_INFINITY;
  let saved = progress.epoch > 0 ? folder.last : null;
  const end = (reason: 'finished' | 'interrupted' | 'diverged', epoch: number) =>
    folder.write({ type: 'end', reason, epoch, step });
  const diverged = async (epoch: number, message: string, cause?: unknown) => {
    await end('diverged', epoch);
    const checkpoint = saved ? `the last good checkpoint is ${saved}` : 'there is no checkpoint yet';
    throw new KalmanNormError('DIVERGED', `${message}; ${checkpoint}`, { cause });
  };
  try {
    for (let epoch = progress.epoch + 1; epoch <= epochs; epoch++) {
      optimizer.learningRate = schedule(epoch);
      const figures = await trainer
        .trainEpoch(epoch, { signal, onProgress: console.epoch(epoch, epochs) })
        .catch((error: unknown): Promise<never> => {
          if (!(error instanceof KalmanNormError) || error.code !== 'DIVERGED') throw error;
          return diverged(epoch, error.message, error);
        });
      step += figures.steps;
      const validation = signal.aborted ? null : await trainer.evaluate({ signal });
      if (signal.aborted || !validation) {
        await saveModel(folder.last, model, { ...description, metadata: { epoch, step } });
        await end('interrupted', epoch);
        console.stopped(epoch, folder.last);
        return 130;
      }
      const record: EpochRecord = {
        type: 'epoch',
        epoch,
        step,
        learningRate: optimizer.learningRate,
        trainLoss: figures.loss,
        trainError: figures.error,
        validationLoss: validation.loss,
        validationError: validation.error,
        imagesPerSecond: figures.imagesPerSecond,
        seconds: figures.seconds + validation.seconds,
        peakMemory: device.memoryStats().peakInUse,
        residentMemory: process.memoryUsage.rss(),
      };
      await folder.write(record);
      await events.scalars(step, scalarsOf(record));
      if (configuration.histograms) await events.histograms(step, await distributionsOf(model));
      console.finished(record, epochs);
      // The last step's update shows in validation alone. Weights that can't classify are no checkpoint.
      if (!Number.isFinite(validation.loss)) {
        await diverged(epoch, `the validation loss became ${validation.loss} after epoch ${epoch}`);
      }
      await saveModel(folder.last, model, { ...description, metadata: { epoch, step } });
      saved = folder.last;
      if (validation.error < best) {
        best = validation.error;
        await saveModel(folder.best, model, { ...description, metadata: { epoch, step } });
      }
      if (examiner) {
        layers = await examine(examiner, training);
        await folder.write({ type: 'diagnosis', epoch, step, layers });
        await events.scalars(step, filterScalars(layers));
      }
      if (isDue(configuration, epoch, lastCheckpoint)) {
        // The one before has to be whole; the next epoch doesn't wait for this one.
        await writing;
        writing = checkpoints.save(step, { epoch, step, best } satisfies Progress);
        // Failing meanwhile, it is told by the next await.
        writing.catch(() => {});
        lastCheckpoint = performance.now();
      }
    }
    await writing;
    if (layers.length > 0) console.layers(layers);
    await end('finished', epochs);
    return 0;
  } finally {
    await writing.catch(() => {});
  }
}

/** What the filter is doing; nothing where steps from here lead nowhere, which the next epoch will tell by itself. */
async function examine(
  examiner: FilterExaminer,
  { model, optimizer, console }: Training,
): Promise<readonly LayerFigures[]> {
  const [values, state] = await Promise.all([model.stateValues(), optimizer.stateValues()]);
  try {
    const moment = { model: values, optimizer: state, learningRate: optimizer.learningRate };
    const { layers } = rounded(await examiner.examine(moment));
    console.filter(layers);
    return layers;
  } catch (error) {
    if (!(error instanceof KalmanNormError) || error.code !== 'DIVERGED') throw error;
    console.note(`no diagnosis: ${error.message}`);
    return [];
  }
}

/** Whether a checkpoint is to be written behind this epoch. */
function isDue({ checkpointEvery: every, epochs }: Configuration, epoch: number, last: number): boolean {
  if (every === null) return false;
  if ('epochs' in every) return epoch % every.epochs === 0 || epoch === epochs;
  return performance.now() - last >= every.minutes * 60_000 || epoch === epochs;
}

function scalarsOf(record: EpochRecord): Record<string, number> {
  return {
    'loss/training': record.trainLoss,
    'loss/validation': record.validationLoss,
    'error/training': record.trainError,
    'error/validation': record.validationError,
    'learning rate': record.learningRate,
    'images per second': record.imagesPerSecond,
    'memory/device, peak (MiB)': record.peakMemory / 2 ** 20,
    'memory/process (MiB)': record.residentMemory / 2 ** 20,
  };
}

/** Values of all parameters and averages by name; a filter's state row by row, as its rows are different things. */
async function distributionsOf(model: CifarResNet): Promise<Map<string, Iterable<number>>> {
  const distributions = new Map<string, Iterable<number>>();
  for (const [name, { shape, data }] of await model.stateValues()) {
    if (!name.endsWith('filterState')) {
      distributions.set(name, data);
      continue;
    }
    const [, channels = 1] = shape;
    for (const [i, row] of filterRows.entries()) {
      distributions.set(`${name}.${row}`, data.subarray(i * channels, (i + 1) * channels));
    }
  }
  return distributions;
}

/** The first Ctrl-C asks the run to end; npm passes it on a second time, so only a later one ends the process at once. */
function interruption(console: Console): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  let first = 0;
  const stop = () => {
    if (first === 0) {
      first = Date.now();
      console.note('stopping after this step; once more to stop at once');
      controller.abort();
    } else if (Date.now() - first > 1000) {
      process.exit(130);
    }
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}

/** Parameters of all layers but the last. */
function featuresOf(model: CifarResNet): Map<string, Tensor> {
  const ofLast = new Set(model.linear.parameters());
  return new Map([...model.namedParameters()].filter(([, tensor]) => !ofLast.has(tensor)));
}
