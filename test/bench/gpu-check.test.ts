import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseGpuCheckArguments } from '../../bench/gpu-check/arguments.js';
import { OutOfTime, runScript, startClock } from '../../bench/gpu-check/child.js';
import { assessCounts } from '../../bench/gpu-check/counts.js';
import { kernelTable, stepTable } from '../../bench/gpu-check/figures.js';
import {
  markdownTable,
  Report,
  readEarlier,
  renderReport,
  type Section,
  verbatim,
} from '../../bench/gpu-check/report.js';
import { assessTests, parseTap, testDevice } from '../../bench/gpu-check/tests.js';
import type { Row } from '../../bench/support/table.js';
import { KalmanNormError } from '../../lib/errors.js';

const refused = { instanceOf: KalmanNormError, code: 'INVALID_ARGUMENT' };

test('the command line: defaults, flags, mistakes', (t) => {
  const defaults = parseGpuCheckArguments([]);
  t.like(defaults, { device: 'cuda:0', small: false, report: 'gpu-report.md', golden: null, python: 'python3' });
  t.deepEqual(defaults?.only, ['tests', 'sanitizer', 'recording', 'golden', 'experiments', 'bench', 'torch']);
  t.is(parseGpuCheckArguments([], { KN_PEER_PYTHON: '/peer/python' })?.python, '/peer/python');
  const given = parseGpuCheckArguments(['--device', 'cuda:3', '--small', '--only', 'torch,tests', '--golden', 'dir']);
  t.like(given, { device: 'cuda:3', small: true, golden: 'dir' });
  t.deepEqual(given?.only, ['tests', 'torch'], 'in the order in which they run');
  t.is(parseGpuCheckArguments(['--help']), null);
  t.throws(() => parseGpuCheckArguments(['--only', 'tests,speed']), { ...refused, message: /"speed"/ });
  t.throws(() => parseGpuCheckArguments(['--device', 'cpu']), { ...refused, message: /cuda:N.*"cpu"/ });
  t.throws(() => parseGpuCheckArguments(['--minutes', '0']), { ...refused, message: /--minutes.*"0"/ });
  t.throws(() => parseGpuCheckArguments(['--report', 'report.json']), { ...refused, message: /--report.*\.md/ });
  t.throws(() => parseGpuCheckArguments(['file']), refused);
});

const tap = `TAP version 13
ok 1 - kalman › update [cuda:0]
not ok 2 - kalman › predict [cuda:0]
#   to repeat: KN_TEST_SEED=1
  ---
    message: wrong
  ...
ok 3 - pool › small # SKIP
ok 4 - pool › names
not ok 5 - later # TODO

1..5
# tests 5
# fail 1`.split('\n');

test('TAP is counted, and failures keep their text', (t) => {
  const { passed, failed, skipped, failures, titles } = parseTap(tap);
  t.deepEqual({ passed, failed, skipped }, { passed: 2, failed: 1, skipped: 2 });
  t.deepEqual(titles, ['kalman › update [cuda:0]', 'pool › names']);
  t.deepEqual(failures, [
    ['kalman › predict [cuda:0]', '#   to repeat: KN_TEST_SEED=1', '  ---', '    message: wrong'],
  ]);
});

test('a test run is good only with tests on the device, and to its end', (t) => {
  const judge = (lines: readonly string[], problem: string | null) =>
    assessTests({ lines: [...lines], problem, seconds: 1 }, 'cuda:0', ['kalman.test.ts'], false);
  const good = ['ok 1 - update [cuda:0]', '1..1'];
  t.like(judge(good, null), { status: 'passed', summary: '1 passed (1 on cuda:0), 0 failed, 0 skipped' });
  t.is(judge(['ok 1 - update [cpu]', '1..1'], null).status, 'FAILED');
  const crash = judge(good, 'ended by SIGSEGV');
  t.is(crash.status, 'FAILED');
  t.regex(crash.summary, /SIGSEGV/);
  const failed = judge(tap, 'ended with status 1');
  t.is(failed.status, 'FAILED');
  t.regex(failed.body, /predict \[cuda:0\][\s\S]*message: wrong/);
});

test('another GPU than the first is made the first', (t) => {
  t.deepEqual(testDevice('cuda:0', { CUDA_VISIBLE_DEVICES: '5' }), { name: 'cuda:0', environment: {} });
  t.deepEqual(testDevice('cuda:2', {}), { name: 'cuda:0', environment: { CUDA_VISIBLE_DEVICES: '2' } });
  t.deepEqual(testDevice('cuda:1', { CUDA_VISIBLE_DEVICES: '6,7' }).environment, { CUDA_VISIBLE_DEVICES: '7' });
  t.deepEqual(testDevice('cuda-emulated', {}), { name: 'cuda-emulated', environment: {} });
});

test('golden vectors are good only if some passed and none failed', (t) => {
  const judge = (lines: string[], problem: string | null) => assessCounts({ lines, problem, seconds: 1 });
  t.like(judge(['pass  a', '1 passed, 0 failed'], null), { status: 'passed', summary: '1 passed, 0 failed' });
  t.is(judge(['0 passed, 0 failed'], null).status, 'FAILED');
  t.is(judge(['1 passed, 1 failed'], 'ended with status 1').status, 'FAILED');
  t.regex(judge(['pass  a'], 'ended by SIGSEGV').summary, /SIGSEGV/);
});

const row = (name: string, more: Partial<Row>): Row => ({
  name,
  unit: 'ms',
  median: 0.05,
  p25: 0,
  p75: 0,
  samples: 1,
  ...more,
});

test('kernels have a column a precision, and gaps where one is missing', (t) => {
  const text = kernelTable([
    { label: 'fp32', rows: [row('kalman', { gigabytesPerSecond: 1500, ofCopy: 0.75 }), row('group', {})] },
    { label: 'bf16', rows: [row('kalman', { median: 2, gigabytesPerSecond: 800, ofCopy: 0.5 })] },
  ]);
  t.true(text.includes('| kalman | 50.0 µs | 1500 | 75 % | 2000 | 2.00 ms | 800 | 50 % | 1600 |'));
  t.true(text.includes('| group | 50.0 µs | – | – | – | – |  |  |  |'));
  t.regex(text, /NCHW it is not measured/);
});

test('steps have a line each, and a column a precision and way', (t) => {
  const text = stepTable([
    {
      label: 'fp32',
      rows: [row('step bn n=5 eager', { imagesPerSecond: 100 }), row('step bn n=5 replayed', { imagesPerSecond: 200 })],
    },
    { label: 'bf16, timed', rows: [row('step bn n=5 replayed', { imagesPerSecond: 400 })] },
  ]);
  t.true(text.includes('| step | fp32 replayed | fp32 eager | bf16, timed replayed |'));
  t.true(text.includes('| step bn n=5 | 200 | 100 | 400 |'));
});

test('the report says at its top what failed, and what is not over', (t) => {
  const section = (status: Section['status']): Section => ({
    title: 'Tests',
    status,
    summary: '1 | 2',
    body: 'Text.',
  });
  const title = (...statuses: Section['status'][]) => renderReport('head', statuses.map(section)).split('\n')[0];
  t.is(title('passed', 'skipped', 'measured', 'incomplete'), '# GPU check: passed');
  t.is(title('passed', 'FAILED', 'not run'), '# GPU check: FAILED');
  t.is(title('passed', 'running'), '# GPU check: not finished');
  t.is(title('skipped'), '# GPU check: nothing checked');
  t.true(renderReport('head', [section('passed')]).endsWith('\n## Tests: passed\n\nText.\n'));
  t.is(markdownTable(['a'], [['1 | 2']]), '| a |\n| --- |\n| 1 \\| 2 |\n');
  t.is(verbatim('a ``` b'), '````\na ``` b\n````\n');
});

const subject = { commit: 'abc', device: 'cuda:0', small: false };

test('a run that was cut short is gone on with: what passed is kept, what failed is repeated', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    const path = join(folder, 'report.md');
    const titles = ['Tests', 'Vectors', 'Figures', 'Peer'];
    const first = new Report(path, 'head', titles, subject);
    await first.set('Tests', { status: 'passed', summary: '7 passed', body: 'All.' });
    await first.set('Vectors', { status: 'FAILED' });
    await first.set('Figures', { status: 'running', data: { rows: [1] } });
    await first.interrupt('no time');
    t.regex(await readFile(path, 'utf8'), /^# GPU check: FAILED[\s\S]*\| Figures \| not run \| no time \|/);
    const next = new Report(path, 'head', titles, subject, await readEarlier(path, subject));
    t.true(next.has(['Tests']));
    for (const title of titles.slice(1)) t.false(next.has([title]), title);
    t.regex(next.summary, /^passed +Tests +7 passed\n/);
    t.deepEqual(await readEarlier(path, { ...subject, commit: 'def' }), []);
    t.deepEqual(await readEarlier(join(folder, 'other.md'), subject), []);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the report is on disk after each step, the last one last', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    const path = join(folder, 'report.md');
    const report = new Report(path, 'head', ['Tests', 'Figures'], subject);
    await report.set('Tests', { status: 'running' });
    t.regex(await readFile(path, 'utf8'), /\| Tests \| running \|/);
    const writes = ['one', 'two', 'three'].map((summary) => report.set('Tests', { summary }));
    await report.set('Tests', { status: 'FAILED' });
    t.regex(await readFile(path, 'utf8'), /\| Tests \| FAILED \| three \|/);
    await Promise.all(writes);
    t.deepEqual((await readdir(folder)).sort(), ['report.json', 'report.md']);
    t.true(report.failed);
    t.regex(report.summary, /^FAILED +Tests +three\nnot run +Figures$/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.serial('a child is ended when its time is over, with its own children', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    const script = join(folder, 'child.mjs');
    // The grandchild inherits the outputs: they close when it is gone too.
    await writeFile(
      script,
      `import { spawn } from 'node:child_process';
      if (process.argv[2] === 'hang') spawn('sleep', ['1000'], { stdio: 'inherit' });
      console.log('one');
      console.error('two');
      process.exitCode = Number(process.argv[2]) || 0;`,
    );
    const failed = await runScript(script, ['3'], { minutes: 1 });
    t.deepEqual([failed.lines.sort(), failed.problem], [['one', 'two'], 'ended with status 3']);
    t.is((await runScript(script, ['0'], { minutes: 1 })).problem, null);
    const hanging = await runScript(script, ['hang'], { minutes: 0.05 });
    t.regex(hanging.problem ?? '', /^stopped/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.serial('no child begins when the time of all is over, and one that runs is ended', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    const script = join(folder, 'child.mjs');
    await writeFile(script, 'setTimeout(() => {}, 60_000);');
    startClock(0.02);
    await t.throwsAsync(runScript(script, [], { minutes: 1 }), { instanceOf: OutOfTime });
    await t.throwsAsync(runScript(script, [], { minutes: 1 }), { instanceOf: OutOfTime });
  } finally {
    startClock(Number.POSITIVE_INFINITY);
    await rm(folder, { recursive: true });
  }
});
