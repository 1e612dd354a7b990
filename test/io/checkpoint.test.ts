import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  CheckpointFolder,
  CifarResNet,
  type NormSpec,
  openDevice,
  Sgd,
  syntheticDataset,
  Trainer,
} from '../../lib/index.js';
import { bits } from '../support/compare.js';
import { deviceNames } from '../support/devices.js';
import { SEED, TestRandom } from '../support/random.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-checkpoint-'));
test.after.always(() => rm(root, { recursive: true, force: true }));
let count = 0;

const dataset = syntheticDataset({ train: 32, test: 8, classes: 3 });

function setUp(norm: NormSpec = { type: 'kalman', splits: 8 }, deviceName = 'cpu', folder = join(root, `${count++}`)) {
  const device = openDevice(deviceName, { threads: 1 });
  const model = new CifarResNet(device, { n: 1, norm, classes: 3, seed: 3 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.05, { weightDecay: 2e-4 });
  const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 16, seed: 5 });
  const checkpoints = new CheckpointFolder(folder, { model, optimizer, trainer });
  const state = async () => {
    const parts = await Promise.all([model, optimizer, trainer].map((part) => part.stateValues()));
    return parts.flatMap((values) => [...values].map(([name, { data }]) => `${name} ${bits(data)}`)).join('\n');
  };
  const close = () => {
    trainer.dispose();
    device.dispose();
  };
  return { model, optimizer, trainer, checkpoints, folder, state, close };
}

const norms: Record<string, NormSpec> = {
  KN: { type: 'kalman', splits: 8 },
  'KN, sampled': { type: 'reference-kalman', splits: 8, gain: 0.1 },
  BN: { type: 'batch', splits: 8 },
};

for (const name of deviceNames) {
  for (const [title, norm] of Object.entries(norms)) {
    test(`a run that goes on from a checkpoint gives the bits of one that never stopped: ${title} [${name}]`, async (t) => {
      const whole = setUp(norm, name);
      await whole.trainer.trainEpoch(1);
      whole.optimizer.learningRate = 0.01;
      // What follows is enqueued while the file is written.
      const saved = whole.checkpoints.save(2, { epoch: 1 });
      await whole.trainer.trainEpoch(2);
      await saved;
      const other = setUp(norm, name, whole.folder);
      const found = await other.checkpoints.load();
      t.deepEqual([found?.step, found?.data, found?.warnings], [2, { epoch: 1 }, []]);
      t.is(other.optimizer.learningRate, Math.fround(whole.optimizer.learningRate));
      await other.trainer.trainEpoch(2);
      t.is(await other.state(), await whole.state());
      whole.close();
      other.close();
    });
  }
}

/** A folder with checkpoints of steps 1 and 2. */
async function twoCheckpoints() {
  const run = setUp({ type: 'group' });
  await run.checkpoints.save(1, 'one');
  await run.trainer.trainEpoch(1);
  await run.checkpoints.save(2, 'two');
  const newest = join(run.folder, 'step-0000000002.safetensors');
  return { ...run, newest, bytes: Uint8Array.from(await readFile(newest)) };
}

async function expectFirst(t: ExecutionContext, folder: string, why: RegExp, label: string) {
  const run = setUp({ type: 'group' }, 'cpu', folder);
  const found = await run.checkpoints.load();
  t.is(found?.data, 'one', label);
  t.regex(found?.warnings.join() ?? '', why, label);
  run.close();
}

test('a newest checkpoint that was cut anywhere falls back to the one before, with a warning', async (t) => {
  const random = new TestRandom(t.title);
  t.log(`KN_TEST_SEED=${SEED}`);
  const { folder, newest, bytes, close } = await twoCheckpoints();
  const lengths = [0, 1, 7, 8, 9, bytes.length - 1, ...Array.from({ length: 30 }, () => random.below(bytes.length))];
  for (const length of lengths) {
    await writeFile(newest, bytes);
    await truncate(newest, length);
    await expectFirst(t, folder, /step-0000000002/, `${length} of ${bytes.length} bytes`);
  }
  close();
});

test('a changed byte anywhere is noticed', async (t) => {
  const random = new TestRandom(t.title);
  t.log(`KN_TEST_SEED=${SEED}`);
  const { folder, newest, bytes, close } = await twoCheckpoints();
  for (let i = 0; i < 40; i++) {
    const damaged = Uint8Array.from(bytes);
    const at = random.below(bytes.length);
    damaged[at] = (damaged[at] as number) ^ (1 << random.below(8));
    await writeFile(newest, damaged);
    await expectFirst(t, folder, /step-0000000002/, `byte ${at} of ${bytes.length}`);
  }
  close();
});

test('another file in the place of a checkpoint is none', async (t) => {
  const { folder, newest, close } = await twoCheckpoints();
  await copyFile(join(folder, 'step-0000000001.safetensors'), newest);
  const run = setUp({ type: 'group' }, 'cpu', folder);
  // Swapped for an older one: it is whole, and says what it is.
  t.is((await run.checkpoints.load())?.data, 'one');
  await writeFile(newest, 'hello');
  await writeFile(join(folder, 'step-0000000001.safetensors'), 'hello');
  await t.throwsAsync(run.checkpoints.load(), {
    code: 'FILE_CORRUPT',
    message: /no checkpoint of .* can be read/,
  } as object);
  run.close();
  close();
});

test('a checkpoint of another network is refused, and nothing is loaded', async (t) => {
  const { folder, close } = await twoCheckpoints();
  const other = setUp({ type: 'batch', splits: 8 }, 'cpu', folder);
  const before = await other.state();
  await t.throwsAsync(other.checkpoints.load(), { code: 'STATE_MISMATCH' } as object);
  t.is(await other.state(), before);
  other.close();
  close();
});

test('a checkpoint with a value that a part refuses falls back to the one before, and nothing of it is loaded', async (t) => {
  const run = setUp();
  await run.checkpoints.save(1, null);
  const saved = await run.state();
  const { model, optimizer, trainer } = run;
  // What another program could write, digest and all.
  const forged = {
    stateDict: () => optimizer.stateDict(),
    stateValues: async () =>
      (await optimizer.stateValues()).set('learningRate', { shape: [1], data: Float32Array.of(-1) }),
    loadStateDict: () => {},
  };
  await trainer.trainEpoch(1);
  await new CheckpointFolder(run.folder, { model, optimizer: forged, trainer }).save(2, null);
  const found = await run.checkpoints.load();
  t.is(found?.step, 1);
  t.regex(found?.warnings[0] ?? '', /step-0000000002.*learningRate.* -1/);
  t.is(await run.state(), saved);
  run.close();
});

test('only the last checkpoints stay; a new folder has none', async (t) => {
  const run = setUp({ type: 'group' });
  t.is(await run.checkpoints.load(), null);
  for (const step of [5, 100, 20]) await run.checkpoints.save(step, null);
  t.deepEqual(await readdir(run.folder), ['step-0000000020.safetensors', 'step-0000000100.safetensors']);
  await t.throwsAsync(run.checkpoints.save(-1, null), { code: 'INVALID_ARGUMENT' } as object);
  t.throws(() => new CheckpointFolder(run.folder, {}, { keep: 0 }), { message: /keep must be .* got 0/ });
  run.close();
});
