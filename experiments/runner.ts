import { appendFile, mkdir, rename, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { check } from '../lib/errors.js';
import {
  CifarResNet,
  type Dataset,
  type Device,
  KalmanNormError,
  limit,
  loadModel,
  openDataset,
  openDevice,
  referenceSchedule,
  Sgd,
  saveModel,
  shortSchedule,
  Trainer,
} from '../lib/index.js';
import { Console } from './console.js';
import { inFlags } from './flags.js';
import { type Configuration, type Experiment, parseOptions, usage } from './options.js';

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
}

/** Runs an experiment if its script is the program that Node was started with. */
export async function main(experiment: Experiment, script: string): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== script) return;
  try {
    const configuration = parseOptions(experiment, process.argv.slice(2));
    if (!configuration) console.log(usage(experiment, process.argv.slice(2)));
    else process.exitCode = await run(configuration);
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    console.error(`${experiment.name}: ${inFlags(error.message)}`);
    process.exitCode = 1;
  }
}

/**
 * Trains a network as configured; writes `log.jsonl`, `model.safetensors` (the last) and `best.safetensors` into the
 * run's folder.
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
    learningRate,
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
  const schedule = (configuration.schedule === 'short' ? shortSchedule : referenceSchedule)(epochs, learningRate);
  const reached = Array.from({ length: epochs }, (_, i) => schedule(i + 1)).includes(learningRate);
  if (!reached) {
    console.note(
      `${epochs} epochs of the reference's schedule never reach the learning rate ${learningRate}; --schedule short does`,
    );
  }
  const optimizer = new Sgd(device, model.namedParameters(), schedule(1), { momentum, weightDecay });
  const trainer = new Trainer({ device, model, optimizer, dataset, batchSize, seed, eager });
  const description = await trainer.describe();
  // Everything that can be refused has been by now.
  await prepareFolder(logDir, console);
  const log = new Log(join(logDir, 'log.jsonl'));
  const files = { last: join(logDir, 'model.safetensors'), best: join(logDir, 'best.safetensors') };

  console.start(configuration, schedule, device, dataset, model.parameterCount(), trainer.stepsPerEpoch);
  await log.write({
    type: 'config',
    ...configuration,
    classes,
    parameters: model.parameterCount(),
    deviceDescription: device.description,
    datasetNote: dataset.note ?? null,
    trainImages: dataset.train.count,
    testImages: dataset.test.count,
    stepsPerEpoch: trainer.stepsPerEpoch,
  });
  if (configuration.profile) device.setProfiling(true);

  let step = 0;
  let saved: string | null = null;
  let best = Number.POSITIVE_INFINITY;
  const end = async (reason: 'finished' | 'interrupted' | 'diverged', epoch: number) => {
    await log.write({ type: 'end', reason, epoch, step });
    if (configuration.profile) console.profile(device.profile());
  };
  const diverged = async (epoch: number, message: string, cause?: unknown) => {
    await end('diverged', epoch);
    const checkpoint = saved ? `the last good checkpoint is ${saved}` : 'there is no checkpoint yet';
    throw new KalmanNormError('DIVERGED', `${message}; ${checkpoint}`, { cause });
  };
  for (let epoch = 1; epoch <= epochs; epoch++) {
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
      await saveModel(files.last, model, { ...description, metadata: { epoch, step } });
      await end('interrupted', epoch);
      console.stopped(epoch, files.last);
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
    };
    await log.write(record);
    console.finished(record, epochs);
    // The last step's update shows in validation alone. Weights that can't classify are no checkpoint.
    if (!Number.isFinite(validation.loss)) {
      await diverged(epoch, `the validation loss became ${validation.loss} after epoch ${epoch}`);
    }
    await saveModel(files.last, model, { ...description, metadata: { epoch, step } });
    saved = files.last;
    if (validation.error < best) {
      best = validation.error;
      await saveModel(files.best, model, { ...description, metadata: { epoch, step } });
    }
  }
  await end('finished', epochs);
  return 0;
}

/** One JSON object a line. */
class Log {
  constructor(private readonly path: string) {}

  async write(entry: object): Promise<void> {
    await appendFile(this.path, `${JSON.stringify(entry)}\n`);
  }
}

/** Makes the run's folder; an earlier run in it is moved aside, as nothing may be lost. */
async function prepareFolder(name: string, console: Console): Promise<void> {
  const exists = async (path: string) =>
    stat(path).then(
      () => true,
      () => false,
    );
  // Without a slash at the end, "." and "..": the number belongs to the name.
  const folder = resolve(name);
  try {
    if (await exists(join(folder, 'log.jsonl'))) {
      const holdsUs = !relative(folder, process.cwd()).startsWith('..');
      check(
        !holdsUs,
        'INVALID_ARGUMENT',
        `--log_dir: there is a run in ${folder}, which can't be moved aside while you are in it; name another folder`,
      );
      let number = 1;
      while (await exists(`${folder}.${number}`)) number++;
      await rename(folder, `${folder}.${number}`);
      console.note(`moved the earlier run in ${folder} to ${folder}.${number}`);
    }
    await mkdir(folder, { recursive: true });
  } catch (error) {
    if (error instanceof KalmanNormError) throw error;
    const { message } = error as Error;
    throw new KalmanNormError('INVALID_ARGUMENT', `--log_dir: ${folder} can't be used: ${message}`, { cause: error });
  }
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
