import test from 'ava';
import fc from 'fast-check';
import { batchNormSuite } from '../../bench/batch-norm.bench.js';
import { checkDepth, checkGrowth, checkMemory, names } from '../../bench/peers/goals.js';
import { interleave, type Result } from '../../bench/peers/interleave.js';
import { parseServeArguments } from '../../bench/serve/arguments.js';
import { matches, parseBenchArguments, parsePeerArguments } from '../../bench/support/arguments.js';
import { Context } from '../../bench/support/case.js';
import { describeMachine, type Machine } from '../../bench/support/machine.js';
import { compare, median, quantile, scaled, scaledComparison, summarize } from '../../bench/support/statistics.js';
import { cells, digits, type Row, renderRows } from '../../bench/support/table.js';
import { KalmanNormError } from '../../lib/errors.js';
import type { Device, Precision } from '../../lib/index.js';

const refused = { instanceOf: KalmanNormError, code: 'INVALID_ARGUMENT' };

test('quantiles are interpolated between neighbours', (t) => {
  t.is(quantile([3, 1, 2], 0.5), 2);
  t.is(quantile([1, 2, 3, 4], 0.5), 2.5);
  t.is(quantile([0, 10], 0.25), 2.5);
  t.is(quantile([7], 0.99), 7);
  t.is(quantile([10, 9], 0.1), 9.1);
  t.true(Number.isNaN(quantile([], 0.5)));
});

test('quantiles lie within the values, in order, and leave them unsorted', (t) => {
  const values = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(values, (samples) => {
      const copy = [...samples];
      const { median: middle, p25, p75, samples: count } = summarize(samples);
      t.deepEqual(samples, copy);
      return (
        Math.min(...samples) <= p25 &&
        p25 <= middle &&
        middle <= p75 &&
        p75 <= Math.max(...samples) &&
        count === samples.length
      );
    }),
  );
  t.pass();
});

test('summaries and comparisons change their unit as a whole', (t) => {
  t.deepEqual(scaled({ median: 2, p25: 1, p75: 3, samples: 9 }, 1000), {
    median: 2000,
    p25: 1000,
    p75: 3000,
    samples: 9,
  });
  const comparison = { ratio: 1, p25: 2, p75: 3, low: 4, high: 5 };
  t.deepEqual(scaledComparison(comparison, 2), { ratio: 2, p25: 4, p75: 6, low: 8, high: 10 });
});

test('a comparison sees through bad minutes that both sides had', (t) => {
  const machine = [1, 1, 5, 1, 2, 1, 9, 1, 3];
  const { ratio, p25, p75, low, high } = compare(
    machine.map((slow) => 3 * slow),
    machine.map((slow) => 2 * slow),
  );
  for (const value of [ratio, p25, p75, low, high]) t.true(Math.abs(value - 1.5) < 1e-12);
});

test('a comparison spreads with its rounds, and is the same every time', (t) => {
  const [a, b] = [
    [4, 5, 6, 7, 8],
    [2, 2, 2, 2, 2],
  ] as const;
  const comparison = compare(a, b);
  t.is(comparison.ratio, 3);
  t.is(comparison.p25, 2.5);
  t.is(comparison.p75, 3.5);
  t.true(comparison.low >= 2 && comparison.low < 3 && comparison.high > 3 && comparison.high <= 4);
  t.deepEqual(compare(a, b), comparison);
  t.deepEqual(compare([...a, 100], b), comparison, 'a round that only one side had is left out');
});

test('bench: defaults, flags and words', (t) => {
  t.deepEqual(parseBenchArguments([]), {
    filters: [],
    list: false,
    time: 1000,
    json: null,
    threads: 0,
    device: 'cpu',
    precision: 'fp32',
    benchmark: false,
    smoke: false,
  });
  const args = ['step', '--filter', 'n=1,n=5 eager', '--json', 'out.json', '--threads', '2', '--device', 'cuda:1'];
  t.deepEqual(
    parseBenchArguments([...args, '--smoke', '--list', '--time', '5', '--precision', 'bf16', '--benchmark']),
    {
      filters: ['step', 'n=1,n=5', 'eager'],
      list: true,
      time: 5,
      json: 'out.json',
      threads: 2,
      device: 'cuda:1',
      precision: 'bf16',
      benchmark: true,
      smoke: true,
    },
  );
  t.is(parseBenchArguments(['--smoke'])?.time, 1);
  t.is(parseBenchArguments(['--help']), null);
  t.is(parsePeerArguments(['-h']), null);
});

test('bench: mistakes are named', (t) => {
  t.throws(() => parseBenchArguments(['--speed', '9']), { ...refused, message: /--speed/ });
  t.throws(() => parseBenchArguments(['--time', '0']), { ...refused, message: /--time: .* at least 1, got "0"/ });
  t.throws(() => parseBenchArguments(['--threads', '1.5']), { ...refused, message: /--threads/ });
  t.throws(() => parseBenchArguments(['--threads', '']), { ...refused, message: /--threads/ });
  t.throws(() => parseBenchArguments(['--precision', 'fp8']), { ...refused, message: /fp32, tf32.*"fp8"/ });
  t.throws(() => parsePeerArguments(['n=2']), { ...refused, message: /n=5, n=1, growth.*"n=2"/ });
  t.throws(() => parsePeerArguments(['--rounds', 'many']), { ...refused, message: /--rounds/ });
});

test('bench:peers: flags before the environment, the environment before the cache', (t) => {
  const environment = { KN_PEER_PYTHON: '/env/python', KN_PEER_TFJS: '/env/tfjs' };
  const cached = parsePeerArguments([]);
  t.true(cached?.python.endsWith('/.cache/kalman-norm/peers/bin/python'));
  t.deepEqual(cached?.parts, ['n=5', 'n=1', 'growth', 'resnet50', 'memory', 'tfjs']);
  t.is(parsePeerArguments([], environment)?.python, '/env/python');
  t.is(parsePeerArguments([], environment)?.tfjs, '/env/tfjs');
  const given = parsePeerArguments(['growth', 'n=1', '--python', '/my/python'], environment);
  t.is(given?.python, '/my/python');
  t.deepEqual(given?.parts, ['growth', 'n=1']);
  t.deepEqual(parsePeerArguments(['--smoke'])?.parts, ['n=1', 'memory', 'tfjs']);
  t.deepEqual(
    parsePeerArguments(['--device', 'cuda:0'])?.parts,
    ['n=5', 'n=1', 'growth', 'resnet50'],
    'the others are of the CPU',
  );
});

test('cases are found by all words, alternatives and whole settings', (t) => {
  const name = 'step kn sampled S=64 n=18 replayed';
  t.true(matches(name, []));
  t.true(matches(name, ['step', 'sampled']));
  t.true(matches(name, ['kn', 'n=1,n=18', 'replay']));
  t.false(matches(name, ['step', 'eager']));
  t.false(matches(name, ['n=1']), 'n=1 is no part of n=18');
  t.false(matches(name, ['S=6']));
  t.true(matches('kalman sampled S=64 forward 128x16x32x32', ['128x16']));
});

test("cuDNN's batch normalization is a case on CUDA devices only", (t) => {
  const names = (device: string) => batchNormSuite({ smoke: true, device }).map(({ name }) => name);
  t.false(names('cpu').some((name) => name.includes('cudnn')));
  t.deepEqual(
    names('cuda:0').filter((name) => name.includes('cudnn')),
    ['batch-norm cudnn S=1 forward 4x8x6x6', 'batch-norm cudnn S=1 backward 4x8x6x6'],
  );
});

test('bytes that move are those that the precision stores', (t) => {
  const bytes = (precision: Precision) =>
    new Context({} as Device, { device: 'cuda:0', precision, threads: 0, smoke: true, time: 1 }).valueBytes;
  t.deepEqual((['fp32', 'tf32', 'fp16', 'bf16'] as const).map(bytes), [4, 4, 2, 2]);
});

test('numbers have three digits whatever their size', (t) => {
  t.is(digits(0), '0');
  t.is(digits(1234.5), '1235');
  t.is(digits(352.4), '352');
  t.is(digits(12.34), '12.3');
  t.is(digits(1.05), '1.05');
  t.is(digits(0.001234), '0.00123');
  t.is(digits(-2.5), '-2.50');
  t.is(digits(Number.NaN), '–');
});

test('rows show what they have', (t) => {
  const row: Row = { name: 'case', unit: 'ms', median: 2, p25: 1.5, p75: 2.5, samples: 9 };
  t.deepEqual(cells(row), ['case', '2.00 ms', '1.50 – 2.50', '', '', '']);
  t.deepEqual(cells({ ...row, imagesPerSecond: 352.2 }).slice(3), ['352 images/s', '', '']);
  t.deepEqual(cells({ ...row, gigabytesPerSecond: 12.34, ofCopy: 0.876, note: 'goal' }).slice(3), [
    '12.3 GB/s',
    '88 %',
    'goal',
  ]);
  const text = renderRows([row, { ...row, name: 'another' }]);
  for (const part of ['median', 'case', 'another', '2.00 ms']) t.true(text.includes(part));
});

test('a busy machine is called busy', (t) => {
  const machine: Machine = {
    processor: 'Processor',
    cores: 4,
    device: 'CPU: 4 threads',
    precision: 'fp32',
    benchmark: false,
    load: [0.1, 0.2, 0.3],
    memoryBytes: 2 ** 34,
    node: '20.10.0',
    platform: 'linux-x64',
    time: '2026-01-01T00:00:00.000Z',
  };
  t.is(
    describeMachine(machine),
    'Processor, 4 cores, 16 GiB | CPU: 4 threads | fp32 | load 0.10 0.20 0.30 | Node 20.10.0, linux-x64',
  );
  t.regex(describeMachine({ ...machine, load: [3, 0, 0] }), /busy/);
  t.regex(describeMachine({ ...machine, precision: 'bf16', benchmark: true }), /\| bf16, timed algorithms \|/);
});

test('candidates take turns, each as many steps as fill one', async (t) => {
  const log: string[] = [];
  const candidate = (name: string, seconds: number) => ({
    name,
    async run(steps: number) {
      log.push(`${name}${steps}`);
      return seconds * steps;
    },
  });
  const results = await interleave([candidate('a', 0.5), candidate('b', 0.125), candidate('c', 4)], {
    rounds: 2,
    turn: 1,
  });
  const round = ['a1', 'a2', 'b1', 'b8', 'c1', 'c1'];
  t.deepEqual(log, ['a1', 'a1', 'b1', 'b1', 'c1', 'c1', ...round, ...round]);
  t.deepEqual(results, [
    { name: 'a', steps: 2, seconds: [0.5, 0.5] },
    { name: 'b', steps: 8, seconds: [0.125, 0.125] },
    { name: 'c', steps: 1, seconds: [4, 4] },
  ]);
});

const result = (name: string, seconds: number): Result => ({ name, steps: 1, seconds: [seconds, seconds, seconds] });

test('our step is judged against the fastest mode of the peer', (t) => {
  const results = [
    result(names.batchNorm, 1),
    result(names.kalmanSampled, 1.4),
    result(names.kalmanAnalytic, 1.2),
    result(names.kalmanLargeSampled, 1.04),
    result('torch bn eager contiguous', 2),
    result('torch bn eager channels_last', 1.3),
    result(names.torchKalman, 3.5),
  ];
  const goals = checkDepth(5, results);
  t.deepEqual(
    goals.map(({ ratio, goal, met }) => [Number(ratio.toFixed(3)), goal, met]),
    [
      [1.3, 'at least 1.25', true],
      [2.5, 'at least 2', true],
      [1.4, 'at most 1.5', true],
      [1.2, 'at most 1.1', false],
      [1.04, 'at most 1.05', true],
    ],
  );
  t.regex(goals[0]?.figure ?? '', /torch bn eager channels_last/);
  t.false(checkDepth(1, results)[0]?.met, 'n = 1 has a goal of its own');
  t.deepEqual(checkDepth(5, [result(names.batchNorm, 1)]), [], 'without a peer there is nothing to say');
});

test('growth is judged by time a block, memory by the least of the peer', (t) => {
  const shallow = { n: 5, result: result('bn', 1) };
  t.is(median(shallow.result.seconds), 1);
  const even = checkGrowth('bn', shallow, { n: 18, result: result('bn', 3.6) });
  t.true(even.met);
  t.true(Math.abs(even.ratio - 1) < 1e-12);
  t.false(checkGrowth('bn', shallow, { n: 18, result: result('bn', 4.2) }).met);
  const theirs = [
    { name: 'a', bytes: 200 },
    { name: 'b', bytes: 100 },
  ];
  t.like(checkMemory(5, 90, theirs), { ratio: 0.9, met: true });
  t.like(checkMemory(5, 110, theirs), { ratio: 1.1, met: false });
});

test('the command line of bench:serve: defaults, flags, help, refusals', (t) => {
  const environment = { KN_PEER_ORT: '/ort' };
  t.deepEqual(parseServeArguments([], environment), {
    seconds: 5,
    rounds: 9,
    minutes: 0,
    library: false,
    n: 3,
    threads: 0,
    connections: 64,
    peer: '/ort',
    json: null,
    smoke: false,
  });
  t.like(parseServeArguments(['--smoke', '--rounds', '2', '--peer', 'x'], environment), {
    seconds: 1,
    rounds: 2,
    n: 1,
    connections: 4,
    peer: 'x',
  });
  t.is(parseServeArguments(['--minutes', '0.5'])?.minutes, 0.5);
  t.is(parseServeArguments(['-h']), null);
  for (const args of [
    ['--minutes', 'x'],
    ['--minutes=-1'],
    ['--seconds', '0'],
    ['--rounds=1.5'],
    ['words'],
    ['--no'],
  ]) {
    t.throws(() => parseServeArguments(args), refused as object, args.join(' '));
  }
});
