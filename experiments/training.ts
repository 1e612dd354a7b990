/** What a run does whatever it trains: its device, its folder, its epochs and their records, checkpoints. */

import {
  CheckpointFolder,
  type CifarResNet,
  type Device,
  KalmanNormError,
  type ModelDescription,
  type Module,
  openDevice,
  type ProcessGroup,
  type ResNet,
  type Schedule,
  type Sgd,
  saveModel,
  type Trainer,
} from '../lib/index.js';
import { filterRows } from '../lib/ops/adaptive-kalman.js';
import { messageOf, runAsProgram } from './command.js';
import { Console } from './console.js';
import type { LayerFigures } from './diagnosis/figures.js';
import { filterScalars } from './diagnosis/followed.js';
import { type FilterExaminer, rounded } from './diagnosis/measure.js';
import { exitCodeOf, interruption } from './interruption.js';
import type { Configuration } from './options.js';
import {
  isToBeLaunched,
  joinProcesses,
  launchAll,
  launchFacts,
  ownDevice,
  ownRank,
  ProcessStatistics,
} from './processes.js';
import { checkpointsOf, RunFolder } from './run-folder.js';
import { EventFile } from './tensorboard.js';

/** Figures of an epoch, as `log.jsonl` has them. Errors are shares from 0 to 1. */
export interface EpochRecord {
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

/** What runs of all experiments have in their configuration. */
export type RunConfiguration = Pick<
  Configuration,
  | 'name'
  | 'label'
  | 'logDir'
  | 'device'
  | 'processes'
  | 'syncStatistics'
  | 'precision'
  | 'threads'
  | 'epochs'
  | 'profile'
  | 'histograms'
  | 'checkpointEvery'
  | 'keep'
  | 'resume'
  | 'force'
  | 'overwrite'
  | 'flags'
>;

/** A program that trains. */
export interface TrainingProgram<C> {
  readonly name: string;
  /** The text of `--help`. */
  usage(args: readonly string[]): string;
  /** Null where help was asked for. */
  configuration(args: readonly string[]): Promise<C | null>;
  /** Returns the exit code. */
  run(configuration: C): Promise<number>;
}

/** Runs a program if its script is the one that Node was started with; shows what its user has to know of a failure. */
export function runProgram<C extends RunConfiguration>(script: string, program: TrainingProgram<C>): Promise<void> {
  return runAsProgram(script, async (args) => {
    try {
      const configuration = await program.configuration(args);
      if (configuration && isToBeLaunched(configuration)) return await launchAll(configuration, script, args);
      if (configuration) return await program.run(configuration);
      console.log(program.usage(args));
      return 0;
    } catch (error) {
      const message = messageOf(error);
      if (message === null) throw error;
      console.error(`${program.name}: ${message}`);
      return 1;
    }
  });
}

/** What a run has whatever it trains. */
export interface Session {
  device: Device;
  /** Quiet in all processes but the first. */
  console: Console;
  signal: AbortSignal;
  /** What a run returns that `signal`, or another process, has stopped. */
  stopCode: () => number;
  /** The processes that train together; null for one alone. */
  group: ProcessGroup | null;
}

/** Opens what a run needs whatever it trains, and closes it behind it. */
export async function withDevice(
  configuration: RunConfiguration,
  body: (session: Session) => Promise<number>,
): Promise<number> {
  const console = new Console({ quiet: ownRank() > 0 });
  const { name, threads } = ownDevice(configuration);
  const device = openDevice(name, { threads, precision: configuration.precision });
  const interrupt = interruption(
    () => console.note('stopping after this step; once more to stop at once'),
    // npm passes Ctrl-C on a second time, so only a later one ends the process at once.
    (signal, after) => {
      if (after > 1000) process.exit(exitCodeOf(signal));
    },
  );
  let group: ProcessGroup | null = null;
  try {
    group = await joinProcesses(configuration, device, (text) => console.note(text));
    return await body({ device, console, signal: interrupt.signal, stopCode: interrupt.exitCode, group });
  } finally {
    interrupt.release();
    console.close();
    group?.close();
    device.dispose();
  }
}

/**
 * Trains in the folder of a run, which is made or, with `--resume`, taken up: everything that can be refused has been.
 *
 * @param about.facts for the log's first line, beside the configuration
 * @param about.start shows what begins
 * @returns the exit code
 */
export async function trainInFolder(training: Training, about: { facts: object; start: () => void }): Promise<number> {
  const { configuration, device, model, trainer, console, examiner, group } = training;
  const { logDir, resume, profile } = configuration;
  if (group && group.rank > 0) return follow(training, group);
  const folder = resume ? await RunFolder.reopen(logDir) : await createFolder(configuration, console);
  const facts = {
    ...about.facts,
    parameters: model.parameterCount(),
    deviceDescription: device.description,
    stepsPerEpoch: trainer.stepsPerEpoch,
    ...launchFacts(),
  };
  try {
    if (!resume) await folder.begin({ type: 'config', ...configuration, ...facts });
    about.start();
    if (profile) device.setProfiling(true);
    return await trainInto(folder, training);
  } finally {
    if (profile) console.profile(device.profile());
    examiner?.dispose();
    await folder.release();
  }
}

function createFolder({ logDir, overwrite }: RunConfiguration, console: Console): Promise<RunFolder> {
  const onMove = (from: string, to: string) => console.note(`moved the earlier run in ${from} to ${to}`);
  return RunFolder.create(logDir, { overwrite, onMove });
}

/** A run that is about to train. */
export interface Training extends Session {
  configuration: RunConfiguration;
  model: CifarResNet | ResNet;
  optimizer: Sgd;
  trainer: Trainer;
  description: ModelDescription;
  /** Learning rate by the epoch; null where the trainer sets it by the step. */
  schedule: Schedule | null;
  /** Where the filter is looked at, if it is. */
  examiner: FilterExaminer | null;
}

/** How far a run is; what a checkpoint has beside the tensors. */
interface Progress {
  epoch: number;
  step: number;
  /** The lowest validation error. */
  best: number | null;
}

/** What a checkpoint has; null in place of statistics of other processes where there are none. */
function checkpointsIn(path: string, { configuration, model, optimizer, trainer, group }: Training) {
  const statistics = group && new ProcessStatistics(model, group);
  // Of the weights' own statistics, which are rank 0's, each process then takes its own.
  const parts = { model, optimizer, trainer, ...(statistics && { statistics }) };
  return { checkpoints: new CheckpointFolder(path, parts, { keep: configuration.keep }), statistics };
}

/** Trains with rank 0, which alone writes: its steps, epoch by epoch, from its last checkpoint on. */
async function follow(training: Training, group: ProcessGroup): Promise<number> {
  const { configuration, optimizer, trainer, schedule, signal, stopCode } = training;
  const { checkpoints, statistics } = checkpointsIn(checkpointsOf(configuration.logDir), training);
  const found = configuration.resume ? await checkpoints.load() : null;
  // Rank 0 may go on, and write, once all have read.
  await group.barrier();
  for (let epoch = ((found?.data as Progress | undefined)?.epoch ?? 0) + 1; epoch <= configuration.epochs; epoch++) {
    if (schedule) optimizer.learningRate = schedule(epoch);
    const { steps } = await trainer.trainEpoch(epoch, { signal });
    if (steps < trainer.stepsPerEpoch) return stopCode();
    const validation = await trainer.evaluate({ signal });
    if (validation.steps < trainer.stepsPerEvaluation) return stopCode();
    await statistics?.collect();
  }
  return 0;
}

/** Trains from where the folder's run is, to its end. */
async function trainInto(folder: RunFolder, training: Training): Promise<number> {
  const { configuration, device, model, optimizer, trainer, description, schedule, examiner } = training;
  const { console, signal, stopCode } = training;
  const { epochs } = configuration;
  const { checkpoints, statistics } = checkpointsIn(folder.checkpoints, training);
  let progress: Progress = { epoch: 0, step: 0, best: null };
  if (configuration.resume) {
    const found = await checkpoints.load();
    for (const warning of found?.warnings ?? []) console.note(`going on from an earlier checkpoint: ${warning}`);
    if (found) progress = found.data as Progress;
    await folder.rewind(progress.epoch);
    console.note(`going on behind epoch ${progress.epoch}`);
  }
  await training.group?.barrier();
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
      if (schedule) optimizer.learningRate = schedule(epoch);
      const figures = await trainer
        .trainEpoch(epoch, { signal, onProgress: console.epoch(epoch, epochs) })
        .catch((error: unknown): Promise<never> => {
          if (!(error instanceof KalmanNormError) || error.code !== 'DIVERGED') throw error;
          return diverged(epoch, error.message, error);
        });
      step += figures.steps;
      // Any process may have been told to stop, and stops all: the number of steps is the same in each, the signal isn't.
      const stopped = figures.steps < trainer.stepsPerEpoch;
      const validation = stopped ? null : await trainer.evaluate({ signal });
      if (!validation || validation.steps < trainer.stepsPerEvaluation) {
        await saveModel(folder.last, model, { ...description, metadata: { epoch, step } });
        await end('interrupted', epoch);
        console.stopped(epoch, folder.last);
        return stopCode();
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
      await statistics?.collect();
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
function isDue({ checkpointEvery: every, epochs }: RunConfiguration, epoch: number, last: number): boolean {
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
async function distributionsOf(model: Module): Promise<Map<string, Iterable<number>>> {
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
