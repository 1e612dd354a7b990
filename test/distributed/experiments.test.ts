import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { parseOptions } from '../../experiments/options.js';
import { processGroupProblem } from '../../lib/index.js';
import { SEED, TestRandom } from '../support/random.js';
import { groupTests, runNode } from './launched.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-processes-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const problem = processGroupProblem();
const groupTest = groupTests(problem);

/** How often a run is killed; KN_FAULT_KILLS for more. */
const KILLS = Number(process.env.KN_FAULT_KILLS ?? 2);

const TINY = [
  '--dataset',
  'synthetic',
  '-n',
  '1',
  '--batch-size',
  '16',
  '--limit-test',
  '16',
  '--threads',
  '1',
  '--lr',
  '0.05',
];

const alone = (script: string, ...flags: string[]) => runNode(['--import=tsx', `experiments/${script}.ts`, ...flags]);

type Entry = Record<string, unknown> & { type: string };

async function logOf(folder: string): Promise<Entry[]> {
  const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Entry);
}

/** The log without what is another each time, and the bytes of the weights. */
async function resultOf(folder: string): Promise<unknown> {
  const log = await logOf(folder);
  for (const entry of log) {
    for (const own of ['seconds', 'imagesPerSecond', 'peakMemory', 'residentMemory', 'logDir', 'launch', 'flags']) {
      delete entry[own];
    }
  }
  const files = ['model.safetensors', 'best.safetensors', ...(await checkpoints(folder))];
  const bytes = await Promise.all(files.map(async (name) => (await readFile(join(folder, name))).toString('hex')));
  return { log, files, bytes };
}

async function checkpoints(folder: string): Promise<string[]> {
  return (await readdir(join(folder, 'checkpoints'))).sort().map((name) => join('checkpoints', name));
}

groupTest('an experiment in two processes gives what it gives in one, in one folder', async (t) => {
  const [one, two] = ['one', 'two'].map((name) => join(root, name)) as [string, string];
  for (const [folder, ...flags] of [[one], [two, '--device', 'cpu,cpu', '--sync-statistics']]) {
    const { code, output } = await alone(
      'cifar-gn',
      ...TINY,
      '--limit-train',
      '64',
      '--epochs',
      '2',
      '--log_dir',
      folder as string,
      ...flags,
    );
    t.is(code, 0, output);
  }
  const [expected, log] = await Promise.all([logOf(one), logOf(two)]);
  t.deepEqual(
    log.map(({ type }) => type),
    ['config', 'epoch', 'epoch', 'end'],
  );
  t.like(log[0], { processes: 2, device: 'cpu,cpu', syncStatistics: true, batchSize: 16 });
  for (const [i, entry] of expected.entries()) {
    if (entry.type !== 'epoch') continue;
    for (const key of ['trainLoss', 'validationLoss']) {
      const [a, b] = [entry[key], log[i]?.[key]] as [number, number];
      // Rounding, and perhaps a ReLU whose input lies within it.
      t.true(Math.abs(a / b - 1) < 1e-3, `${key} of epoch ${entry.epoch}: ${a} and ${b}`);
    }
  }
  t.deepEqual((await readdir(two)).filter((name) => !name.startsWith('events.')).sort(), [
    'best.safetensors',
    'checkpoints',
    'log.jsonl',
    'model.safetensors',
  ]);
  t.is((await readdir(root)).length, 2, 'another process made a folder');
  const { code, output } = await alone('cifar-gn', '--resume', one, '--device', 'cpu,cpu', '--force');
  t.is(code, 1);
  t.regex(output, /is a run of 1 process, got 2/);
});

/** A process of the launcher's, once it is there; null where the launcher has ended. */
async function processOf(launcher: ChildProcess, rank: number): Promise<number | null> {
  while (launcher.exitCode === null && launcher.signalCode === null) {
    const children = await readFile(`/proc/${launcher.pid}/task/${launcher.pid}/children`, 'utf8').catch(() => '');
    for (const child of children.split(' ').filter(Boolean)) {
      const environment = await readFile(`/proc/${child}/environ`, 'utf8').catch(() => '');
      if (environment.split('\0').includes(`KALMAN_NORM_RANK=${rank}`)) return Number(child);
    }
    await sleep(5);
  }
  return null;
}

groupTest('a run whose processes are killed at random moments is the undisturbed run', async (t) => {
  const random = new TestRandom('kills');
  t.log(`KN_TEST_SEED=${SEED}`);
  const command = (folder: string, ...flags: string[]) => {
    const launcher = ['tools/kalman-norm.mjs', 'launch', '--processes', '2', '--grace', '1', ...flags];
    const training = [...TINY, '--limit-train', '640', '--splits', '8', '--epochs', '8', '--log_dir', folder];
    return [...launcher, 'experiments/cifar-kn-microbatch.ts', ...training];
  };
  const undisturbed = join(root, 'undisturbed');
  const whole = await runNode(command(undisturbed));
  t.is(whole.code, 0, whole.output);
  const expected = await resultOf(undisturbed);
  let duration = whole.milliseconds;
  for (let kill = 1; kill <= KILLS; ) {
    const folder = join(root, `killed-${kill}`);
    await rm(folder, { recursive: true, force: true });
    const [rank, moment] = [random.below(2), random.below(duration)];
    let killed = false;
    const during = async (launcher: ChildProcess) => {
      await sleep(moment);
      const process = await processOf(launcher, rank);
      try {
        if (process !== null) killed = globalThis.process.kill(process, 'SIGKILL');
      } catch {
        // It has just ended.
      }
    };
    const { code, output, milliseconds } = await runNode(command(folder, '--restarts', '1'), { during });
    t.is(code, 0, output);
    t.deepEqual(await resultOf(folder), expected, `kill ${kill}: rank ${rank} after ${moment} ms`);
    await rm(folder, { recursive: true });
    // One that came behind the end doesn't count, and the next comes earlier: the first run may have had a busier machine.
    if (!killed || !output.includes('starting all anew')) {
      duration = milliseconds;
      continue;
    }
    const from = /going on behind epoch (\d+)/.exec(output)?.[1];
    const went = from === undefined ? 'began anew' : `went on behind epoch ${from}`;
    t.log(
      `kill ${kill}: rank ${rank} after ${(moment / 1000).toFixed(2)} s, ${went}, ${(milliseconds / 1000).toFixed(1)} s in all, equal`,
    );
    kill++;
  }
});

test('flags of runs in several processes', (t) => {
  const experiment = { name: 'cifar', label: 'KN', n: 5, norm: { type: 'kalman', splits: 64 }, anyNorm: true } as const;
  const parse = (...flags: string[]) => parseOptions(experiment, flags);
  t.like(parse('--gpu', '0,1'), { device: 'cuda:0,cuda:1', processes: 2, syncStatistics: false });
  t.like(parse('--gpu', '3'), { device: 'cuda:3', processes: 1 });
  t.like(parse('--device', 'cpu,cpu', '--norm', 'sync-batch'), { processes: 2, norm: { type: 'sync-batch' } });
  const refused: [flags: string[], message: RegExp][] = [
    [['--gpu', '0,x'], /--gpu: expected numbers of GPUs, such as 0 or 0,1, got "x"/],
    [['--gpu', '0,'], /--gpu: expected numbers of GPUs/],
    [['--device', 'cpu,cpu', '--norm', 'batch'], /--splits: expected a multiple of the 2 processes.*got 1/],
    [['--sync-statistics'], /--sync-statistics has no meaning for a run in one process/],
  ];
  for (const [flags, message] of refused) t.throws(() => parse(...flags), { code: 'INVALID_ARGUMENT', message });
});
