import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  AdamW,
  CheckpointFolder,
  CifarResNet,
  cosineSchedule,
  openDevice,
  syntheticDataset,
  Trainer,
  type TrainerOptions,
  WeightAverage,
  warmUp,
} from '../../lib/index.js';
import { bits } from '../support/compare.js';
import { deviceNames } from '../support/devices.js';

const dataset = syntheticDataset({ train: 48, test: 8, classes: 3 });

/** A training with everything: AdamW, a schedule by steps, clipping, averaged weights. */
function setUp(name: string, changes: Partial<TrainerOptions> = {}) {
  const device = openDevice(name, { threads: 2 });
  const model = new CifarResNet(device, { n: 1, norm: { type: 'batch', splits: 8 }, classes: 3, seed: 3 });
  const optimizer = new AdamW(device, model.namedParameters(), 1);
  const average = new WeightAverage(device, model.stateDict(), { decay: 0.8 });
  const schedule = warmUp(2, cosineSchedule(4, 0.01));
  const recipe = { schedule, clipNorm: 0.5, average };
  const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 16, ...recipe, ...changes });
  const parts = { model, optimizer, average, trainer };
  const state = async () => {
    const states = await Promise.all(Object.values(parts).map((part) => part.stateValues()));
    return states.flatMap((values) => [...values].map(([key, { data }]) => `${key} ${bits(data)}`));
  };
  const dispose = () => {
    for (const part of [trainer, average, optimizer, model, device]) part.dispose();
  };
  return { ...parts, parts, state, dispose };
}

for (const name of deviceNames) {
  test(`AdamW, clipping and averages: eager and replayed training give identical bits [${name}]`, async (t) => {
    const [eager, replayed] = [setUp(name, { eager: true }), setUp(name)];
    for (const run of [eager, replayed]) for (const epoch of [1, 2]) await run.trainer.trainEpoch(epoch);
    t.deepEqual(await replayed.state(), await eager.state());
    // The sixth step's, after two of warming up.
    t.is(replayed.optimizer.learningRate, warmUp(2, cosineSchedule(4, 0.01))(6));
    const averaged = await replayed.trainer.evaluate();
    t.false(replayed.average.applied);
    replayed.average.apply();
    t.is((await replayed.trainer.evaluate()).loss, averaged.loss, 'averages that are applied already');
    replayed.average.restore();
    // With its own weights it is another model.
    replayed.average.loadStateDict(
      new Map([
        ...(await replayed.average.stateValues()),
        ...[...(await replayed.model.stateValues())].map(([key, value]) => [`average.${key}`, value] as const),
      ]),
    );
    t.not((await replayed.trainer.evaluate()).loss, averaged.loss);
    for (const run of [eager, replayed]) run.dispose();
  });
}

test('AdamW, clipping and averages: a resumed training gives the bits of one that never stopped', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  const [whole, resumed] = [setUp('cpu'), setUp('cpu')];
  try {
    await whole.trainer.trainEpoch(1);
    await new CheckpointFolder(folder, whole.parts).save(1, {});
    await whole.trainer.trainEpoch(2);
    t.is((await new CheckpointFolder(folder, resumed.parts).load())?.step, 1);
    await resumed.trainer.trainEpoch(2);
    t.deepEqual(await resumed.state(), await whole.state());
  } finally {
    await rm(folder, { recursive: true, force: true });
    for (const run of [whole, resumed]) run.dispose();
  }
});

test('Trainer: schedule, clipping and average are checked', (t) => {
  const cases: [changes: object, message: RegExp][] = [
    [{ schedule: 0.1 }, /Trainer: schedule must be a function, got 0\.1/],
    [{ clipNorm: 0 }, /Trainer: clipNorm must be a positive number, got 0/],
    [{ clipNorm: Number.NaN }, /Trainer: clipNorm .*got NaN/],
    [{ average: 0.9 }, /Trainer: average must be a WeightAverage, got 0\.9/],
    [{ optimizer: { step() {} } }, /Trainer: optimizer must be an optimizer such as Sgd/],
  ];
  for (const [changes, message] of cases) {
    t.throws(() => setUp('cpu', changes), { code: 'INVALID_ARGUMENT', message });
  }
});
