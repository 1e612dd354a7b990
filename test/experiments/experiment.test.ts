import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readSafetensors } from '../../lib/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const small = ['--dataset', 'synthetic', '-n', '1', '--limit-train', '128', '--limit-test', '32', '--batch-size', '32'];

/** Runs an experiment's script; `onOutput` sees what it prints. */
function start(
  script: string,
  args: readonly string[],
  onOutput: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
) {
  const child = spawn(process.execPath, ['--import=tsx', `experiments/${script}.ts`, ...args], { cwd: root });
  let output = '';
  return new Promise<{ code: number | null; output: string }>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        output += data;
        onOutput(output, (signal) => child.kill(signal));
      });
    }
    child.on('close', (code) => resolve({ code, output }));
  });
}

async function logOf(folder: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(folder, 'log.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const [script, splits] of [
  ['cifar-gn', []],
  ['cifar-bn-microbatch', ['--splits', '16']],
  ['cifar-kn-microbatch', ['--splits', '16']],
  ['cifar-bn-largebatch', []],
  ['cifar-kn-largebatch', ['--preset', 'reference', '--transition', 'analytic']],
] as const) {
  test.serial(`${script} writes a log and models`, async (t) => {
    await inFolder(async (folder) => {
      const run = join(folder, 'run');
      const { code, output } = await start(script, [...small, ...splits, '--epochs', '2', '--log_dir', run]);
      t.is(code, 0, output);
      const log = await logOf(run);
      t.deepEqual(
        log.map((entry) => entry.type),
        ['config', 'epoch', 'epoch', 'end'],
      );
      t.like(log[0], { name: script, n: 1, parameters: 75290, device: 'cpu', trainImages: 128, testImages: 32 });
      t.like(log[2], { epoch: 2, step: 8 });
      t.is(log[3]?.reason, 'finished');
      for (const file of ['model.safetensors', 'best.safetensors']) {
        t.true((await readSafetensors(join(run, file))).tensors.has('stage3.0.conv2.weight'));
      }
    });
  });
}

test.serial('--histograms: distributions of weights, averages and the filter go to TensorBoard', async (t) => {
  await inFolder(async (folder) => {
    const run = join(folder, 'run');
    const flags = ['--splits', '16', '--epochs', '1', '--histograms', '--log_dir', run];
    const { code, output } = await start('cifar-kn-microbatch', [...small, ...flags]);
    t.is(code, 0, output);
    const [name] = (await readdir(run)).filter((file) => file.startsWith('events.'));
    const events = await readFile(join(run, name as string), 'latin1');
    for (const tag of ['conv0.weight', 'norm0.runningVariance', 'stage2.0.norm1.filterState.logRatio']) {
      t.true(events.includes(tag), tag);
    }
  });
});

test.serial('a run starts from a model, and an earlier run in its folder is kept', async (t) => {
  await inFolder(async (folder) => {
    const run = join(folder, 'run');
    const args = [...small, '--epochs', '1', '--lr', '0', '--log_dir', run];
    await start('cifar-gn', args);
    const { code, output } = await start('cifar-gn', [
      ...args,
      '--seed',
      '9',
      '--load',
      join(run, 'model.safetensors'),
    ]);
    // The file was moved aside with the earlier run, after it had been read.
    t.is(code, 0, output);
    t.deepEqual((await readdir(folder)).sort(), ['run', 'run.1']);
    const [before, after] = await Promise.all(
      ['run.1', 'run'].map((name) => readSafetensors(join(folder, name, 'model.safetensors'))),
    );
    t.deepEqual(after?.tensors.get('conv0.weight')?.data, before?.tensors.get('conv0.weight')?.data);
  });
});

for (const [how, signal, exitCode] of [
  ['Ctrl-C', 'SIGINT', 130],
  ['SIGTERM', 'SIGTERM', 143],
] as const) {
  test.serial(`${how} ends a run cleanly`, async (t) => {
    await inFolder(async (folder) => {
      const run = join(folder, 'run');
      let sent = false;
      const { code, output } = await start(
        'cifar-gn',
        [...small, '--epochs', '400', '--log_dir', run],
        (text, kill) => {
          if (!sent && /epoch +2\//.test(text)) {
            sent = true;
            kill(signal);
          }
        },
      );
      t.is(code, exitCode, output);
      const log = await logOf(run);
      t.like(log.at(-1), { type: 'end', reason: 'interrupted' });
      t.true(existsSync(join(run, 'model.safetensors')));
      t.deepEqual(
        (await readdir(run)).filter(
          (name) => !/^(checkpoints|events\..*|log\.jsonl|model\.safetensors|best\.safetensors)$/.test(name),
        ),
        [],
      );
    });
  });
}

test.serial('a loss that is not finite names the last checkpoint', async (t) => {
  await inFolder(async (folder) => {
    const run = join(folder, 'run');
    const { code, output } = await start('cifar-gn', [...small, '--epochs', '3', '--lr', '1e25', '--log_dir', run]);
    t.is(code, 1);
    t.regex(
      output,
      /the loss became \S+ in epoch \d, step \d of 4; (the last good checkpoint is|there is no checkpoint)/,
    );
    t.like((await logOf(run)).at(-1), { type: 'end', reason: 'diverged' });
  });
});

test.serial('a run whose weights diverge in its last step keeps nothing as a good checkpoint', async (t) => {
  await inFolder(async (folder) => {
    const run = join(folder, 'run');
    // One step an epoch: its loss is that of the first weights, and only validation sees what they became.
    const one = ['--limit-train', '32', '--epochs', '1', '--lr', '1e38', '--log_dir', run];
    const { code, output } = await start('cifar-gn', [...small, ...one]);
    t.is(code, 1);
    t.regex(output, /the validation loss became NaN after epoch 1; there is no checkpoint yet/);
    t.like((await logOf(run)).at(-1), { type: 'end', reason: 'diverged' });
    t.deepEqual(
      (await readdir(run)).filter((name) => /safetensors|checkpoints/.test(name)),
      [],
    );
  });
});

for (const [args, message] of [
  [['--gpu', '0'], /cuda:0 was asked for.*--device cpu/s],
  [['--gpu', '0', '--device', 'cpu'], /either --gpu or --device/],
  [['--gain', '2'], /--gain: expected .*, got "2"/],
  [['--splits', '0'], /--splits: expected a whole number of at least 1, got "0"/],
  [['--nonsense'], /nonsense/],
  [['--dataset', 'imagenet'], /--dataset: expected one of cifar10, .*, got "imagenet"/],
  [['--dataset', 'synthetic', '--splits', '7'], /--splits: expected a divisor of the batch size 128, got 7/],
  [['--dataset', 'synthetic', '--load', 'missing.safetensors'], /missing\.safetensors/],
] as const) {
  test.serial(`refused: ${args.join(' ')}`, async (t) => {
    await inFolder(async (folder) => {
      const { code, output } = await start('cifar-kn-microbatch', [
        ...args,
        '-n',
        '1',
        '--log_dir',
        join(folder, 'run'),
      ]);
      t.is(code, 1, output);
      t.regex(output, message);
      t.notRegex(output, /\n\s+at /, 'no stack');
    });
  });
}
