import {
  CifarResNet,
  type Dataset,
  type InputNormalization,
  limit,
  loadModel,
  openDataset,
  Sgd,
  type Tensor,
  Trainer,
} from '../lib/index.js';
import { FilterExaminer } from './diagnosis/measure.js';
import { type Configuration, type Experiment, scheduleOf, usage } from './options.js';
import { ownPart } from './processes.js';
import { configurationOf } from './resume.js';
import { runProgram, type Session, trainInFolder, withDevice } from './training.js';

/** Runs an experiment if its script is the program that Node was started with. */
export function main(experiment: Experiment, script: string): Promise<void> {
  return runProgram(script, {
    name: experiment.name,
    usage: (args) => usage(experiment, args),
    configuration: (args) => configurationOf(experiment, args),
    run,
  });
}

/**
 * Trains a network as configured; writes `log.jsonl`, `model.safetensors` (the last), `best.safetensors`, checkpoints and
 * TensorBoard's events into the run's folder.
 *
 * @returns the exit code: 0, or where the run was interrupted 130 after Ctrl-C, 143 after SIGTERM
 */
export function run(configuration: Configuration): Promise<number> {
  const { limitTrain, limitTest } = configuration;
  return withDevice(configuration, async (session) => {
    const { console, signal } = session;
    const whole = await openDataset({
      name: configuration.dataset,
      dataDir: configuration.dataDir ?? undefined,
      download: configuration.download,
      onProgress: (progress) => console.download(progress),
      signal,
    });
    const dataset = limit(whole, { ...(limitTrain && { train: limitTrain }), ...(limitTest && { test: limitTest }) });
    return train(configuration, session, dataset);
  });
}

async function train(configuration: Configuration, session: Session, dataset: Dataset): Promise<number> {
  const { device, console, group } = session;
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
    n,
    norm,
    weightStandardization,
  } = configuration;
  const classes = dataset.classNames.length;
  const own = ownPart(norm, configuration.processes);
  const model = new CifarResNet(device, { n, norm: own, weightStandardization, classes, seed });
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
    ...(group && { group, syncStatistics: configuration.syncStatistics }),
    // All but the classifier's, as in the paper.
    ...(agc && { adaptiveClip: { clipping: agc, parameters: featuresOf(model) } }),
  });
  const description = await trainer.describe();
  const { mean } = description.normalization as InputNormalization;
  const examiner =
    configuration.diagnose && (group?.rank ?? 0) === 0
      ? new FilterExaminer({ device, configuration, dataset, mean, steps: 16 })
      : null;
  const training = {
    ...session,
    configuration,
    model,
    optimizer,
    trainer,
    description,
    schedule,
    examiner,
  };
  return trainInFolder(training, {
    facts: {
      classes,
      datasetNote: dataset.note ?? null,
      trainImages: dataset.train.count,
      testImages: dataset.test.count,
    },
    start: () => console.start(configuration, schedule, device, dataset, model.parameterCount(), trainer.stepsPerEpoch),
  });
}

/** Parameters of all layers but the last. */
function featuresOf(model: CifarResNet): Map<string, Tensor> {
  const ofLast = new Set(model.linear.parameters());
  return new Map([...model.namedParameters()].filter(([, tensor]) => !ofLast.has(tensor)));
}
