import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { imagenetSchedule, imagenetUsage, parseImageNet } from '../../experiments/imagenet/options.js';
import { imagenet } from '../../experiments/imagenet/program.js';
import { drawImageNet } from '../../experiments/pretend-imagenet.js';
import { openDevice, openModel } from '../../lib/index.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-imagenet-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const drawing = { classes: 4, train: 8, val: 2, size: 96, seed: 2 };
const drawn = (async () => {
  const [folders, tars] = [join(root, 'folders'), join(root, 'tars')];
  await drawImageNet(folders, { ...drawing, format: 'folders' });
  await drawImageNet(tars, { ...drawing, format: 'tars' });
  return { folders, tars };
})();

const small = ['--architecture', 'resnet18', '--width', '16', '--size', '64', '--batch', '4', '--threads', '1'];
const short = ['--epochs', '3', '--warm-up', '1'];

async function train(data: string, name: string, ...flags: string[]): Promise<string> {
  const folder = join(root, name);
  const args = [...small, ...short, '--data', data, '--log_dir', folder, ...flags];
  const configuration = await imagenet.configuration(args);
  if ((await imagenet.run(configuration!)) !== 0) throw new Error('the run failed');
  return folder;
}

/** What a run gives: its log without what is its own, and the weights. */
async function resultOf(folder: string): Promise<{ epochs: Record<string, unknown>[]; weights: string }> {
  const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trimEnd().split('\n').slice(1);
  const epochs = lines.map((line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    for (const own of ['seconds', 'imagesPerSecond', 'peakMemory', 'residentMemory']) delete record[own];
    return record;
  });
  return { epochs, weights: (await readFile(join(folder, 'model.safetensors'))).toString('hex') };
}

const whole = (async () => train((await drawn).folders, 'whole'))();

test('a network learns pretend photographs in folders; its file says what it is', async (t) => {
  const folder = await whole;
  const { epochs } = await resultOf(folder);
  const losses = epochs.filter(({ type }) => type === 'epoch').map(({ trainLoss }) => trainLoss as number);
  t.is(losses.length, 3);
  t.true(losses[2]! < losses[0]!, `${losses}`);
  t.is(epochs.at(-1)?.reason, 'finished');
  const device = openDevice('cpu', { threads: 1 });
  const info = await openModel(join(folder, 'best.safetensors'), device);
  t.deepEqual(info.classNames, ['n00000', 'n00001', 'n00002', 'n00003']);
  t.deepEqual(info.input, { channels: 3, height: 64, width: 64 });
  t.deepEqual(info.normalization?.mean, [123.675, 116.28, 103.53]);
  device.dispose();
});

test('tars, another window of images and a check beforehand give the same run', async (t) => {
  const folder = await train((await drawn).tars, 'tars', '--image-memory', '1', '--parallel', '2', '--verify');
  t.deepEqual(await resultOf(folder), await resultOf(await whole));
  const other = await train((await drawn).folders, 'other', '--seed', '1');
  t.notDeepEqual(await resultOf(other), await resultOf(await whole));
});

test('a run that is killed and resumed is the run that was never stopped', async (t) => {
  const folder = join(root, 'killed');
  const command = (...args: string[]) => {
    const child = spawn(process.execPath, ['--import=tsx', 'experiments/imagenet.ts', ...args]);
    let text = '';
    const watch = (chunk: Buffer) => {
      text += String(chunk);
      if (!args.includes('--resume') && text.includes('epoch 2/3')) child.kill('SIGKILL');
    };
    child.stdout.on('data', watch);
    child.stderr.on('data', watch);
    return new Promise<{ code: number | null; text: string }>((done) =>
      child.on('close', (code) => done({ code, text })),
    );
  };
  const { folders } = await drawn;
  const first = await command(...small, ...short, '--data', folders, '--log_dir', folder);
  t.is(first.code, null, first.text);
  const refused = await command('--resume', folder, '--size', '32');
  t.is(refused.code, 1);
  t.regex(refused.text, /--size is 64 in the run, got 32/);
  const second = await command('--resume', folder);
  t.is(second.code, 0, second.text);
  t.deepEqual(await resultOf(folder), await resultOf(await whole));
});

test('every normalization, in splits and in parts', async (t) => {
  const { folders } = await drawn;
  for (const flags of [
    ['--norm', 'batch', '--splits', '2'],
    ['--norm', 'group', '--weight-standardization'],
    ['--norm', 'kalman', '--accumulate', '2'],
  ]) {
    const folder = await train(folders, `norm${flags.join('')}`, '--epochs', '1', '--warm-up', '0', ...flags);
    t.is((await resultOf(folder)).epochs.length, 2);
  }
});

test('what is damaged or does not fit is told before a run has a folder', async (t) => {
  const { folders } = await drawn;
  const damaged = join(root, 'damaged');
  await cp(folders, damaged, { recursive: true });
  await truncate(join(damaged, 'val', 'n00001', 'n00001_0001.JPEG'), 500);
  const refused = async (data: string, code: string, message: RegExp, ...flags: string[]) => {
    await t.throwsAsync(train(data, 'refused', ...flags), { code, message } as object);
    t.false(existsSync(join(root, 'refused')));
  };
  await refused(damaged, 'FILE_CORRUPT', /val\/n00001\/n00001_0001\.JPEG: the image can't be decoded/, '--verify');
  // Without --verify the validation images, which fit, are read at once.
  await refused(damaged, 'FILE_CORRUPT', /n00001_0001\.JPEG: the image can't be decoded/);
  await rm(join(damaged, 'val', 'n00001'), { recursive: true });
  await refused(damaged, 'INVALID_ARGUMENT', /the class "n00001" is among the training images, but not/);
  await refused(join(root, 'nowhere'), 'FILE_NOT_FOUND', /there is no folder .*nowhere\/train/);
  await refused(
    folders,
    'INVALID_ARGUMENT',
    /--batch: expected at most the 32 training images, got 64/,
    '--batch',
    '64',
  );
});

test('the command line: defaults, the schedule, and what is refused', (t) => {
  const read = (...args: string[]) => parseImageNet(['--data', 'x', ...args])!;
  t.like(read(), { architecture: 'resnet50', batchSize: 256, learningRate: 0.1, size: 224, smoothing: 0.1 });
  t.like(read('--batch', '4', '--norm', 'batch'), { learningRate: 0.1 / 64, label: 'BN, micro-batch 4' });
  const schedule = imagenetSchedule(read('--epochs', '10', '--warm-up', '2', '--lr', '1'), 100);
  t.is(schedule(1), 0.1);
  t.is(schedule(201), 1);
  t.true(Math.abs(schedule(601) - 0.5) < 1e-12);
  t.true(schedule(1000) < 1e-5);
  t.is(imagenetSchedule(read('--warm-up', '0'), 5)(1), 0.1);
  for (const [flags, message] of [
    [['--architecture', 'resnet19'], /--architecture: expected one of resnet18/],
    [['--size', '16'], /--size: expected a whole number from 32/],
    [['--norm', 'reference-kalman'], /--norm: reference-kalman has blocks for CIFAR only/],
    [['--epochs', '3', '--warm-up', '3'], /--warm-up: expected a whole number from 0 to 2/],
    [['--batch', '4', '--splits', '3'], /--splits: expected a divisor/],
    [['--bach', '4'], /did you mean --batch/],
  ] as const) {
    t.throws(() => read(...flags), { code: 'INVALID_ARGUMENT', message } as object);
  }
  t.throws(() => parseImageNet([]), { message: /--data: expected a folder/ });
  t.is(parseImageNet(['--help']), null);
  t.regex(imagenetUsage([]), /npm run imagenet -- \[flags\]/);
  t.regex(imagenetUsage(['--norm', 'batch']), /--splits VALUE/);
});
