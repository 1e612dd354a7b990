import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { messageOf } from '../experiments/command.js';
import { inFlags } from '../experiments/flags.js';
import { type Experiment, parseOptions, usage } from '../experiments/options.js';
import { drawSvg, errorAxis } from '../experiments/report/chart.js';
import type { Run } from '../experiments/report/log.js';
import { run } from '../experiments/runner.js';
import { KalmanNormError, shortSchedule } from '../lib/index.js';

const kalman: Experiment = {
  name: 'kn',
  label: 'KN, micro-batch 2',
  n: 5,
  norm: { type: 'kalman', splits: 64 },
  reference: { type: 'reference-kalman', splits: 64, gain: 0.1 },
};
const group: Experiment = { name: 'gn', label: 'GN', n: 3, norm: { type: 'group' } };

test('help says which experiment it is, and every default', (t) => {
  const text = usage(kalman);
  t.regex(text, /^kn: KN, micro-batch 2\n/);
  const defaults = text.split('\n').filter((line) => line.includes(' VALUE '));
  t.true(defaults.length > 15);
  for (const line of defaults) t.regex(line, /; default: \S/, line);
  for (const shown of [
    /-n VALUE.*default: 5$/m,
    /--splits.*default: 64$/m,
    /--gain.*default: adaptive; reference: 0\.1$/m,
  ])
    t.regex(text, shown);
  t.notRegex(usage(group), /--splits|--gain/);
});

test('an unknown flag comes with the nearest one', (t) => {
  const refusal = (flag: string) =>
    t.throws(() => parseOptions(kalman, [flag]), { code: 'INVALID_ARGUMENT' } as object)?.message;
  t.is(refusal('--batchsize'), "Unknown option '--batchsize'; did you mean --batch-size?");
  t.is(refusal('--log-dir'), "Unknown option '--log-dir'; did you mean --log_dir?");
  t.is(refusal('--epoch'), "Unknown option '--epoch'; did you mean --epochs?");
  t.is(refusal('--unheard-of'), "Unknown option '--unheard-of'; --help lists the flags");
  t.throws(() => parseOptions(group, ['--gain', '1']), { message: /--gain has no meaning for gn/ });
});

test('a value that is empty, as of a variable of the shell that is not set, is refused', (t) => {
  for (const flag of ['--log_dir', '--resume', '--load', '--data-dir', '--device', '--lr', '-n'])
    t.throws(() => parseOptions(group, [flag, '']), {
      code: 'INVALID_ARGUMENT',
      message: `${flag}: expected a value, got an empty one`,
    } as object);
  t.throws(() => parseOptions(group, ['--log_dir', ' ']), { message: /--log_dir: expected a folder/ });
});

test('numbers that nothing could be made of are refused before anything begins', (t) => {
  for (const [flag, value] of [
    ['--epochs', '1e30'],
    ['--epochs', '1e7'],
    ['-n', '1e30'],
    ['-n', '1001'],
  ] as const)
    t.throws(() => parseOptions(group, [flag, value]), {
      code: 'INVALID_ARGUMENT',
      message: /expected a whole number from 1 to \d+, got/,
    } as object);
});

test('messages name flags, and leave paths alone', (t) => {
  t.is(inFlags('give it as dataDir, or set download: true.'), 'give it as --data-dir, or set --download.');
  t.is(inFlags('/home/dataDir/x isn’t batchSize/a'), '/home/dataDir/x isn’t batchSize/a');
  t.is(inFlags('limit.train: expected 1'), '--limit-train: expected 1');
});

test('what the system refuses is told without a stack, a mistake of the program with it', async (t) => {
  const failure = await readFile('/nowhere/at all').catch((error: unknown) => error);
  t.regex(messageOf(failure) ?? '', /^ENOENT: no such file.*nowhere/);
  t.is(messageOf(new KalmanNormError('INVALID_ARGUMENT', 'limit.train: expected 1')), '--limit-train: expected 1');
  for (const mistake of [new TypeError('x is undefined'), 'a text', null]) t.is(messageOf(mistake), null);
});

test('shortSchedule: no epoch is wasted where there are two', (t) => {
  const rates = (epochs: number) => Array.from({ length: epochs }, (_, i) => +shortSchedule(epochs)(i + 1).toFixed(9));
  t.deepEqual(rates(1), [0.1]);
  t.deepEqual(rates(2), [0.1, 0.01]);
  t.deepEqual(rates(3), [0.01, 0.1, 0.01]);
  for (let epochs = 1; epochs <= 30; epochs++) t.true(rates(epochs).includes(0.1), `${epochs} epochs`);
});

const runOf = (
  errors: readonly (readonly [validation: number | null, train: number | null])[],
  label = 'run',
): Run => ({
  dir: label,
  label,
  config: {},
  status: 'finished',
  remarks: [],
  epochs: errors.map(([validationError, trainError], i) => ({
    type: 'epoch',
    epoch: i + 1,
    step: (i + 1) * 100,
    learningRate: 0.1,
    trainLoss: 1,
    trainError,
    validationLoss: 1,
    validationError,
    imagesPerSecond: 1,
    seconds: 1,
  })),
});

test('the axis holds every error', (t) => {
  t.true(errorAxis([runOf([[0.92, 0.97], ...Array<[number, number]>(40).fill([0.4, 0.3])])]).max >= 97);
  const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }));
  fc.assert(
    fc.property(fc.array(fc.tuple(share, share), { minLength: 1, maxLength: 60 }), (errors) => {
      const { min, max, interval } = errorAxis([runOf(errors)]);
      for (const error of errors.flat()) if (error !== null) t.true(error * 100 >= min && error * 100 <= max);
      t.true((max - min) / interval >= 1 && (max - min) / interval <= 10);
    }),
  );
});

test('equal lines are dashed so that both are seen; others are solid', (t) => {
  const errors: [number, number][] = [0.9, 0.6, 0.5, 0.4].map((error) => [error, error - 0.1]);
  const dashes = (svg: string, colour: string) =>
    [...svg.matchAll(new RegExp(`<path[^>]*stroke="${colour}"[^>]*stroke-width="2.2"[^>]*>`, 'g'))].map(
      ([path]) => /stroke-dasharray="([^"]*)"/.exec(path)?.[1],
    )[0];
  const equal = drawSvg([runOf(errors, 'a'), runOf(errors, 'b')], 'T');
  t.is(dashes(equal, '#0072B2'), undefined);
  t.truthy(dashes(equal, '#D55E00'));
  const apart = drawSvg(
    [
      runOf(errors, 'a'),
      runOf(
        errors.map(([v, e]) => [v / 2, e / 2]),
        'b',
      ),
    ],
    'T',
  );
  t.is(dashes(apart, '#D55E00'), undefined);
});

const small = [
  '--dataset',
  'synthetic',
  '-n',
  '1',
  '--limit-train',
  '32',
  '--limit-test',
  '16',
  '--batch-size',
  '32',
  '--epochs',
  '1',
];

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-cli-'));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test.serial('a run whose validation diverges leaves no checkpoint', async (t) => {
  await inFolder(async (folder) => {
    const dir = join(folder, 'run');
    const configuration = parseOptions(group, [...small, '--lr', '1e38', '--log_dir', dir])!;
    await t.throwsAsync(run(configuration), {
      code: 'DIVERGED',
      message: /the validation loss became \S+ after epoch 1; there is no checkpoint yet/,
    } as object);
    t.deepEqual(
      (await readdir(dir)).filter((name) => !name.startsWith('events.')),
      ['log.jsonl'],
    );
    t.regex(await readFile(join(dir, 'log.jsonl'), 'utf8'), /"reason":"diverged"/);
  });
});

test.serial('an earlier run is moved aside, whatever slashes end the name; the folder one is in stays', async (t) => {
  await inFolder(async (folder) => {
    const args = (dir: string) => parseOptions(group, [...small, '--log_dir', dir])!;
    for (let i = 0; i < 2; i++) t.is(await run(args(`${folder}/run/`)), 0);
    t.deepEqual((await readdir(folder)).sort(), ['run', 'run.1']);
    const before = process.cwd();
    process.chdir(join(folder, 'run'));
    try {
      await t.throwsAsync(run(args('.')), {
        code: 'INVALID_ARGUMENT',
        message: /--log_dir: .*while you are in it/,
      } as object);
    } finally {
      process.chdir(before);
    }
    await t.throwsAsync(run(args(join(folder, 'run/log.jsonl/x'))), {
      code: 'INVALID_ARGUMENT',
      message: /--log_dir: .*can't be used/,
    } as object);
    t.deepEqual((await readdir(folder)).sort(), ['run', 'run.1']);
  });
});
