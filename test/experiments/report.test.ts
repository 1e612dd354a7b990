import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Resvg } from '@resvg/resvg-js';
import test from 'ava';
import fc from 'fast-check';
import { drawSvg, renderPng } from '../../experiments/report/chart.js';
import { drawFilters } from '../../experiments/report/filters.js';
import { parseLog } from '../../experiments/report/log.js';
import { buildPage, summarize } from '../../experiments/report/page.js';
import { writeReport } from '../../experiments/report.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-report-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const config = { type: 'config', name: 'kn-microbatch', label: 'KN, batch 2', dataset: 'cifar10', n: 5, seed: 1 };
const epoch = (number: number, validationError: number | null, more = {}) => ({
  type: 'epoch',
  epoch: number,
  step: number * 390,
  learningRate: 0.1,
  trainLoss: 1.5,
  trainError: 0.5 / number,
  validationLoss: 1.4,
  validationError,
  imagesPerSecond: 500 + number,
  seconds: 90,
  ...more,
});
const end = { type: 'end', reason: 'finished', epoch: 3, step: 1170 };
const log = (...records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');
const threeEpochs = log(config, epoch(1, 0.5), epoch(2, 0.3), epoch(3, 0.4), end);

/** What one layer's filter did, as a log has it. */
const layer = (name: string, more = {}) => ({
  layer: name,
  prior: null,
  belief: { bias: 0.01, logRatio: -0.2, logError: 0.3 },
  observation: { bias: 0.1, logRatio: -0.1, logError: 0.3 },
  posterior: { bias: 0.02, logRatio: -0.1, logError: 0.2 },
  logLikelihood: -0.02,
  innovation: { mean: 0.1, variance: 0.3 },
  autocorrelation: { mean: 0.5, variance: -0.5 },
  consistency: 1,
  gain: { mean: 0.02, variance: 0.02 },
  guardTrips: 0,
  running: { bias: 0.01, logRatio: 0.1, logError: 0.1 },
  gradientNorm: 0.1,
  ...more,
});
const diagnosis = (number: number, layers: object[]) => ({ type: 'diagnosis', epoch: number, step: number, layers });

let count = 0;
/** The folder of a run with this log. */
async function runDir(text: string): Promise<string> {
  const dir = join(root, `runs-${count++}`, 'run');
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'log.jsonl'), text);
  return dir;
}

test('a log becomes a run with its final and best errors', (t) => {
  const run = parseLog(threeEpochs, 'dir');
  t.is(run.label, 'KN, batch 2');
  t.is(run.status, 'finished');
  t.deepEqual(run.config, { name: 'kn-microbatch', label: 'KN, batch 2', dataset: 'cifar10', n: 5, seed: 1 });
  t.deepEqual(summarize(run), {
    steps: 1170,
    epochs: 3,
    finalValidationError: 0.4,
    finalTrainError: 0.5 / 3,
    best: { validationError: 0.3, epoch: 2 },
    imagesPerSecond: 502,
  });
});

test('a log cut at any byte gives the complete epochs before the cut, or a typed error', (t) => {
  fc.assert(
    fc.property(fc.nat(threeEpochs.length), (length) => {
      const complete = threeEpochs.slice(0, length).split('\n').slice(0, -1);
      const epochs = complete.filter((line) => line.includes('"type":"epoch"')).length;
      try {
        const run = parseLog(threeEpochs.slice(0, length), 'dir');
        // The line that the cut fell into counts if only its line feed is missing.
        t.true(run.epochs.length === epochs || threeEpochs[length] === '\n');
        t.is(run.status, threeEpochs.slice(0, length).includes(JSON.stringify(end)) ? 'finished' : 'running');
      } catch (error) {
        t.like(error, { name: 'KalmanNormError', code: 'FILE_CORRUPT' });
        t.is(epochs, 0);
      }
    }),
    { numRuns: 300 },
  );
});

test('a torn last line is told', (t) => {
  t.deepEqual(parseLog(threeEpochs, 'dir').remarks, []);
  const torn = parseLog(`${log(config, epoch(1, 0.5))}{"type":"epo`, 'dir');
  t.is(torn.epochs.length, 1);
  t.regex(torn.remarks.join(), /torn/);
});

test('a resumed run: the later line of an epoch counts, and the old end does not', (t) => {
  const interrupted = { ...end, reason: 'interrupted' };
  const run = parseLog(
    log(config, epoch(1, 0.5), epoch(2, 0.9), interrupted, config, epoch(2, 0.4), epoch(3, 0.3)),
    'dir',
  );
  t.deepEqual(
    run.epochs.map((record) => record.validationError),
    [0.5, 0.4, 0.3],
  );
  t.is(run.status, 'running');
});

test('lines of a type from the future are left alone', (t) => {
  t.is(parseLog(log(config, { type: 'gain', mean: 0.5 }, epoch(1, 0.5)), 'dir').epochs.length, 1);
});

const corrupt: [string, string, RegExp][] = [
  ['is empty', '', /run\/log\.jsonl: .*the log is empty/],
  ['starts with an epoch', log(epoch(1, 0.5)), /first line of type "config", got "epoch"/],
  ['has no epoch yet', log(config), /at least one finished epoch/],
  ['has a broken line', `${log(config)}{"type"\n${log(epoch(1, 0.5))}`, /line 2: expected a JSON object/],
  [
    'has a line that is no object',
    `${log(config)}7\n${log(epoch(1, 0.5))}`,
    /line 2: expected a JSON object: 7 is no object/,
  ],
  [
    'has a text for a number',
    log(config, epoch(1, 0.5, { trainError: '1' })),
    /line 2: trainError: expected a number or null, got "1"/,
  ],
  ['has a broken step', log(config, epoch(1, 0.5, { step: -1 })), /line 2: step: expected a count, got -1/],
  [
    'has filters without figures',
    log(config, epoch(1, 0.5), diagnosis(1, [{}])),
    /line 3: layers: expected the figures/,
  ],
  ['ends oddly', log(config, epoch(1, 0.5), { type: 'end', reason: 'bored' }), /line 3: reason: .*got "bored"/],
];
for (const [what, text, message] of corrupt) {
  test(`a log that ${what} is refused`, (t) => {
    t.throws(() => parseLog(text, 'run'), { name: 'KalmanNormError', code: 'FILE_CORRUPT', message });
  });
}

test('a report has the curves of all runs, in three files beside the runs', async (t) => {
  const dir = await runDir(threeEpochs);
  const other = await runDir(log({ ...config, label: 'BN <&> "2"', n: 9 }, epoch(1, 0.6), epoch(2, null)));
  const { files, runs, warnings } = await writeReport([dir, other], { title: 'A <title>' });
  t.deepEqual(
    files,
    ['svg', 'png', 'html'].map((type) => join(dir, '..', `report.${type}`)),
  );
  t.deepEqual((await readdir(join(dir, '..'))).sort(), ['report.html', 'report.png', 'report.svg', 'run']);
  t.is(runs.length, 2);
  t.true(warnings.every((warning) => warning.includes('no font')));

  const svg = await readFile(files[0]!, 'utf8');
  for (const text of ['A &lt;title&gt;', 'KN, batch 2', 'BN &lt;&amp;&gt; ', 'training steps', 'error (%)']) {
    t.true(svg.includes(text), text);
  }
  t.notThrows(() => new Resvg(svg), 'well-formed');
  for (const colour of ['#0072B2', '#D55E00']) t.true(svg.includes(`stroke="${colour}"`), colour);

  const png = await readFile(files[1]!);
  t.is(png.subarray(1, 4).toString(), 'PNG');
  t.is(png.readUInt32BE(16), 1800);
  t.is(png.readUInt32BE(20), 1200);

  const html = await readFile(files[2]!, 'utf8');
  t.true(html.includes('<svg'));
  t.regex(
    html,
    /KN, batch 2<\/th><td>40\.00 %<\/td><td>30\.00 % \(epoch 2\)<\/td><td>16\.67 %<\/td><td>3<\/td><td>1,170<\/td><td>502<\/td><td>finished/,
  );
  t.regex(html, /BN &lt;&amp;&gt; &quot;2&quot;<\/th><td>–<\/td><td>60\.00 % \(epoch 1\)<\/td>.*running/);
  t.regex(html, /<tr class="differs"><th scope="row">n<\/th><td>5<\/td><td>9<\/td>/);
  t.regex(html, /<tr><th scope="row">seed<\/th>/);
  t.notRegex(html.replace(/<svg[\s\S]*<\/svg>/, ''), /(src|href)=/, 'refers to no other file');
});

test('the page names the data and the torn log, and shows nested options', async (t) => {
  const datasetNote = '10,000 of the official 50,000 training images';
  const run = parseLog(`${log({ ...config, datasetNote, kn: { gain: 0.9 } }, epoch(1, 0.5))}{`, 'dir');
  const html = buildPage([run], 'T', '<svg></svg>');
  t.true(html.includes(`<li>${datasetNote}</li>`));
  t.regex(html, /<li>KN, batch 2: The last line of the log is torn/);
  t.regex(html, /kn\.gain<\/th><td>0\.9</);
});

test('runs of the same label are told apart by their folders', async (t) => {
  const dirs = [await runDir(threeEpochs), await runDir(threeEpochs)];
  const { runs } = await writeReport(dirs);
  t.deepEqual(
    runs.map(({ label }) => label),
    dirs.map((dir) => `KN, batch 2 (${dir})`),
  );
});

test('runs that differ in their seed alone become their mean, in a band', async (t) => {
  const of = (seed: number, last: number | null, more = {}) =>
    runDir(log({ ...config, seed, logDir: `folder ${seed}`, ...more }, epoch(1, 0.5), epoch(2, last), end));
  const dirs = [await of(1, 0.2), await of(2, 0.4), await of(3, 0.3), await of(3, 0.9), await of(4, 0.3, { n: 3 })];
  const { runs, files } = await writeReport(dirs);
  t.deepEqual(
    runs.map(({ epochs, members }) => [epochs.at(-1)?.validationError?.toFixed(9), members?.length]),
    [
      ['0.300000000', 3],
      ['0.900000000', undefined],
      ['0.300000000', undefined],
    ],
  );
  t.is(runs[0]?.label, 'KN, batch 2 (3 seeds)');
  t.deepEqual(runs[0]?.config.seed, [1, 2, 3]);
  const html = await readFile(files.find((file) => file.endsWith('.html')) as string, 'utf8');
  // The sample standard deviation of 0.2, 0.3 and 0.4.
  t.regex(html, /<td>30\.00 ± 10\.00 %<\/td>/);
  t.regex(await readFile(files.find((file) => file.endsWith('.svg')) as string, 'utf8'), /fill-opacity="0\.18"/);
});

test('a group lacks the epochs that a member lacks, and a figure that is no number', async (t) => {
  const long = await runDir(log({ ...config, seed: 1 }, epoch(1, 0.5), epoch(2, 0.3), end));
  const short = await runDir(log({ ...config, seed: 2 }, epoch(1, null)));
  const [run] = (await writeReport([long, short])).runs;
  t.deepEqual(
    run?.epochs.map(({ validationError }) => validationError),
    [null],
  );
  t.is(run?.status, 'running');
});

test('a run to compare with is dashed, and has no training error', async (t) => {
  const [one, other] = [
    await runDir(log(config, epoch(1, 0.5))),
    await runDir(log({ ...config, label: 'BN' }, epoch(1, 0.4))),
  ];
  const drawn = async (dashed?: string[]) => {
    const { files } = await writeReport([one, other], { dashed });
    return readFile(files.find((file) => file.endsWith('.svg')) as string, 'utf8');
  };
  const dashes = (svg: string) => svg.match(/stroke-dasharray="9,7"/g)?.length ?? 0;
  t.is(dashes(await drawn()), 0);
  t.true(dashes(await drawn([other])) > 0);
  t.regex(await drawn([other]), /bold dashes: to compare with/);
});

test('runs of any figures, many or few, can be drawn', (t) => {
  const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }));
  const record = fc.record({ validationError: share, trainError: share });
  const logs = fc.array(fc.array(record, { minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(logs, (list) => {
      const runs = list.map((epochs, i) =>
        parseLog(log({ ...config, label: `run ${i}` }, ...epochs.map((e, k) => epoch(k + 1, null, e))), `dir ${i}`),
      );
      const svg = drawSvg(runs, 'T');
      t.notRegex(svg, /NaN|Infinity|undefined/);
      t.notThrows(() => new Resvg(svg));
    }),
    { numRuns: 25 },
  );
});

test('what filters did is drawn over depth and time, of each seed', async (t) => {
  const layers = [layer('norm0'), layer('a <deep> one', { consistency: null })];
  const of = (seed: number) =>
    runDir(log({ ...config, seed }, epoch(1, 0.5), diagnosis(1, layers), epoch(2, 0.4), diagnosis(2, layers), end));
  const { files } = await writeReport([
    await of(1),
    await of(2),
    await runDir(log({ ...config, n: 9 }, epoch(1, 0.5))),
  ]);
  t.is(files.length, 4);
  const svg = await readFile(files[3]!, 'utf8');
  for (const text of ['seed 1', 'seed 2', 'epoch 1 to 2', 'a &lt;deep&gt; one', 'gain of means'])
    t.true(svg.includes(text), text);
  t.notThrows(() => new Resvg(svg), 'well-formed');
  // Two runs of 16 figures, two layers and two epochs; the priors are unknown, and the second layer's consistency.
  t.is(svg.match(/<path /g)?.length, 2 * 16 * 2 * 2);
  t.is(svg.match(/<path fill="#ddd"/g)?.length, 2 * (2 * 2 * 2 + 2));
  t.true((await readFile(files[2]!, 'utf8')).includes(svg));
});

test('filters of any figures, in many epochs, can be drawn', (t) => {
  const value = fc.option(fc.double({ noNaN: true, noDefaultInfinity: true }));
  const values = fc.record({ logLikelihood: value, consistency: value, guardTrips: value, gradientNorm: value });
  fc.assert(
    fc.property(fc.array(values, { minLength: 1, maxLength: 150 }), (list) => {
      const records = list.map((more, i) => diagnosis(i + 1, [layer('norm0', more)]));
      const svg = drawFilters([parseLog(log(config, epoch(1, 0.5), ...records), 'dir')]) as string;
      t.notRegex(svg, /NaN|Infinity|undefined/);
      t.true((svg.match(/<path /g)?.length as number) <= 16 * 60);
      t.notThrows(() => new Resvg(svg));
    }),
    { numRuns: 50 },
  );
});

test('the letters of the chart reach the PNG', (t) => {
  const text = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><text y="18">error</text></svg>';
  const blank = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"></svg>';
  const { png, hasFont } = renderPng(text);
  t.is(Buffer.compare(png, renderPng(blank).png) !== 0, hasFont);
});

test('nothing is written unless every log can be read', async (t) => {
  const dir = await runDir(threeEpochs);
  const empty = await runDir('');
  const out = join(root, 'nothing');
  await t.throwsAsync(writeReport([dir, empty], { out }), { code: 'FILE_CORRUPT' });
  await t.throwsAsync(writeReport([dir, join(root, 'absent')], { out }), {
    code: 'FILE_NOT_FOUND',
    message: /the log of a run.*absent\/log\.jsonl/,
  });
  await t.throwsAsync(writeReport([], { out }), { code: 'INVALID_ARGUMENT', message: /at least one folder/ });
  await t.throwsAsync(writeReport([dir, dir], { out }), { code: 'INVALID_ARGUMENT', message: /twice/ });
  t.false((await readdir(root)).includes('nothing'));
});

test('the command prints errors and files, ends with 1 on a mistake, and leaves no process behind', async (t) => {
  const script = fileURLToPath(new URL('../../experiments/report.ts', import.meta.url));
  const run = (...args: string[]) =>
    new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
      execFile(process.execPath, ['--import=tsx', script, ...args], { timeout: 60_000 }, (error, out, err) =>
        resolve({ code: error?.code ?? error?.signal ?? 0, out, err }),
      );
    });
  const dir = await runDir(threeEpochs);
  const out = join(root, 'command');
  const good = await run(dir, '--out', out);
  t.is(good.code, 0, good.err);
  t.true(good.out.startsWith('KN, batch 2: 40.00 % after 3 epochs, best 30.00 % (finished)\n'));
  t.true(good.out.includes(join(out, 'report.html')));
  const none = await run();
  t.is(none.code, 1);
  t.regex(none.err, /RUN_DIR: expected at least one folder.*\n\nusage:/);
  const unknown = await run('--colour');
  t.is(unknown.code, 1);
  t.regex(unknown.err, /Unknown option '--colour'/);
});
