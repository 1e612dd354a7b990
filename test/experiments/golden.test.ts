import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { type CaseResult, passed } from '../../experiments/golden/case.js';
import {
  caseTolerances,
  compare,
  modelTolerances,
  type Tolerance,
  withoutUnfoundedFlips,
} from '../../experiments/golden/compare.js';
import { Fields } from '../../experiments/golden/files.js';
import {
  fromSamples,
  toHwio,
  toNchw,
  toNhwc,
  toOihw,
  toSamples,
  type Values,
} from '../../experiments/golden/layout.js';
import { ownName } from '../../experiments/golden/names.js';
import { runGolden } from '../../experiments/golden/run.js';
import { main, resultLine } from '../../experiments/golden.js';
import { openDevice, writeSafetensors } from '../../lib/index.js';

const device = openDevice('cpu');
const root = await mkdtemp(join(tmpdir(), 'kalman-norm-golden-'));
test.after.always(async () => {
  device.dispose();
  await rm(root, { recursive: true, force: true });
});

const recorded = fileURLToPath(new URL('../../../shared/golden', import.meta.url));
const testRecorded = existsSync(recorded) ? test : test.skip;
testRecorded(
  `recorded tensors of the reference (${existsSync(recorded) ? '' : 'no folder '}../shared/golden)`,
  async (t) => {
    const results = await all(recorded);
    t.deepEqual(results.filter((result) => !passed(result)).map(resultLine), []);
    t.true(results.length > 0);
  },
);

async function all(dir: string, filter?: string): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for await (const result of runGolden(dir, device, { filter })) results.push(result);
  return results;
}

type Tensors = Record<string, [shape: number[], data: number[]]>;

/** What a test changes in {@link folderOf}'s pair; an undefined entry is left out. */
interface Changes {
  title?: string;
  hyper?: Record<string, unknown>;
  tensors?: Record<string, Tensors[string] | undefined>;
  /** Shapes as the JSON file lists them. */
  listed?: Record<string, number[]>;
}

/** Writes the pair `tiny` into a new folder. Its case `pixel` is a 3×3 filter on one pixel: only the centre counts. */
async function folderOf({ title = 'C1: a test', ...changes }: Changes = {}): Promise<string> {
  const filter = (centre: number) => [0, 0, 0, 0, centre, 0, 0, 0, 0];
  const good: Tensors = {
    x: [[1, 1, 1, 1], [2]],
    W: [[3, 3, 1, 1], filter(3)],
    ct_out: [[1, 1, 1, 1], [5]],
    out: [[1, 1, 1, 1], [6]],
    'grad/x': [[1, 1, 1, 1], [15]],
    'grad/W': [[3, 3, 1, 1], filter(10)],
  };
  const hyper = { what: 'Conv2D 3x3 SAME, no bias', stride: 1, ...changes.hyper };
  const tensors = Object.entries({ ...good, ...changes.tensors }).flatMap(([name, tensor]) =>
    tensor ? [[name, ...tensor] as const] : [],
  );
  const shapes = { ...Object.fromEntries(tensors.map(([name, shape]) => [name, shape])), ...changes.listed };
  const stored = tensors.map(([name, shape, data]) => {
    return [`pixel/${name}`, { dtype: 'F32', shape, data: Float32Array.from(data) }] as const;
  });
  const dir = await mkdtemp(join(root, 'set-'));
  await writeFile(join(dir, 'tiny.json'), JSON.stringify({ title, cases: { pixel: { hyper, tensors: shapes } } }));
  await writeSafetensors(join(dir, 'tiny.safetensors'), Object.fromEntries(stored));
  return dir;
}

/** The lines of a run of the command, and its exit code. */
async function command(...args: string[]): Promise<{ lines: string[]; code: number }> {
  const lines: string[] = [];
  return { code: await main(args, (line) => lines.push(line)), lines };
}

test('a good case passes, with a line about it and the counts at the end', async (t) => {
  const { lines, code } = await command(await folderOf(), '--threads', '1');
  t.is(code, 0);
  t.regex(lines.at(-2)!, /^pass {2}tiny\/pixel {2}worst \S+: error \S+, tolerance \S+$/);
  t.is(lines.at(-1), '1 passed, 0 failed');
});

test('a corrupted value fails, by name', async (t) => {
  const { lines, code } = await command(await folderOf({ tensors: { 'grad/x': [[1, 1, 1, 1], [15.01]] } }));
  t.is(code, 1);
  t.regex(lines.at(-2)!, /^FAIL {2}tiny\/pixel {2}worst grad\/x: error 1\.0e-2, tolerance 1\.8e-3$/);
  t.is(lines.at(-1), '0 passed, 1 failed');
});

const faults: [name: string, changes: Changes, message: RegExp][] = [
  ['an unknown "what"', { hyper: { what: 'Conv3D' } }, /unknown what "Conv3D"/],
  ['an unknown title', { title: 'E: something new' }, /unknown title "E: something new"/],
  ['an unknown layer', { title: 'A: x', hyper: { layer: 'LayerNorm' } }, /unknown layer "LayerNorm"/],
  ['a missing setting', { hyper: { stride: undefined } }, /stride: expected a number/],
  ['a missing tensor', { tensors: { ct_out: undefined } }, /there is no tensor ct_out/],
  ['a tensor that nothing compares', { tensors: { extra: [[1], [0]] } }, /not compared: extra/],
  ['a listed tensor that is not stored', { listed: { more: [1] } }, /more is listed/],
  ['another shape than listed', { listed: { x: [1, 1] } }, /tensor x: the JSON file lists shape \[1,1\]/],
  [
    'an output of another shape',
    {
      tensors: {
        out: [
          [1, 2, 1, 1],
          [6, 6],
        ],
      },
    },
    /out: expected shape/,
  ],
];
for (const [name, changes, message] of faults) {
  test(`${name} fails`, async (t) => {
    const results = await all(await folderOf(changes));
    t.is(results.length, 1);
    t.false(passed(results[0]!));
    t.regex(resultLine(results[0]!), message);
  });
}

for (const ending of ['json', 'safetensors']) {
  test(`a missing .${ending} fails, and the other pairs still run`, async (t) => {
    const dir = await folderOf();
    await writeFile(join(dir, `alone.${ending === 'json' ? 'safetensors' : 'json'}`), '{}');
    const results = await all(dir);
    t.deepEqual(
      results.map(({ id }) => id),
      ['alone', 'tiny/pixel'],
    );
    t.deepEqual(results.map(passed), [false, true]);
    t.regex(resultLine(results[0]!), new RegExp(`alone\\.${ending} is missing`));
  });
}

test('a file without cases, and one whose cases cannot be read, fail', async (t) => {
  const dir = await mkdtemp(join(root, 'set-'));
  for (const [name, cases] of Object.entries({ empty: {}, wrong: 1 })) {
    await writeFile(join(dir, `${name}.json`), JSON.stringify({ title: 'C1: a test', cases }));
    await writeSafetensors(join(dir, `${name}.safetensors`), {});
  }
  const lines = (await all(dir)).map(resultLine);
  t.deepEqual(lines, [
    'FAIL  empty  there are no cases in it',
    'FAIL  wrong  wrong.json: cases: expected an object, got 1',
  ]);
});

test('a whole model without its companion fails', async (t) => {
  const dir = await mkdtemp(join(root, 'set-'));
  const json = { title: 'D: whole model kn_x', inputs_file: 'D_inputs', tensors: {} };
  await writeFile(join(dir, 'D_kn.json'), JSON.stringify(json));
  await writeSafetensors(join(dir, 'D_kn.safetensors'), {});
  const [result] = await all(dir);
  t.regex(resultLine(result!), /^FAIL {2}D_kn {2}inputs_file: D_inputs is not among the readable files/);
});

test('a folder that is not there, without files or without a fitting case is an error', async (t) => {
  await t.throwsAsync(all(join(root, 'nowhere')), { code: 'FILE_NOT_FOUND', message: /nowhere \(ENOENT\)/ });
  await t.throwsAsync(all(await mkdtemp(join(root, 'set-'))), { code: 'FILE_NOT_FOUND', message: /none of either/ });
  const dir = await folderOf();
  await t.throwsAsync(all(dir, 'absent'), { code: 'INVALID_ARGUMENT', message: /contains "absent"/ });
});

test('comparison: what is not finite must be the same', (t) => {
  const values = (...data: number[]): Values => ({ shape: [data.length], data: Float32Array.from(data) });
  const tolerance: Tolerance = { metric: 'entry', absolute: 1, relative: 1 };
  const reference = values(1, Number.NaN, Number.POSITIVE_INFINITY);
  t.true(compare('', reference, reference, tolerance).passed);
  for (const wrong of [
    values(1, 2, Number.POSITIVE_INFINITY),
    values(1, Number.NaN, 2),
    values(Number.NaN, Number.NaN, 2),
  ]) {
    t.false(compare('', wrong, reference, tolerance).passed);
    t.false(compare('', wrong, reference, { metric: 'tensor', relative: 1, flips: 1 }).passed);
  }
});

test('tolerances are those that the file states', (t) => {
  const tolerances = {
    metric: 'as ever',
    'step0 logits/cost/guard_ratio, infer_init': 1e-5,
    'grad (step 0)': 2e-4,
    'step2, after3, infer_after3': 2e-3,
    'flip-tolerant fallback': 'require relative L2 error per tensor <= 5e-2 for grad, step>=1 and after*',
  };
  const model = modelTolerances(Fields.of('', { tolerances }));
  const of = (relative: number, flips: number | null): Tolerance => ({ metric: 'tensor', relative, flips });
  t.deepEqual(model('step0/logits'), of(1e-5, null));
  t.deepEqual(model('infer_init/logits'), of(1e-5, null));
  t.deepEqual(model('grad/conv0/W'), of(2e-4, 0.05));
  t.deepEqual(model('after1/conv0/W'), of(5e-5, 0.05));
  t.deepEqual(model('infer_after3/logits'), of(2e-3, 0.05));
  t.deepEqual(model('step7/cost'), of(1e-3, 0.05));

  const groups = { metric: 'as ever', 'out,prior_of': { rtol: 1, atol: 2 }, grad: { rtol: 3, atol: 4 } };
  const layer = caseTolerances(Fields.of('', { tolerances: groups }));
  t.deepEqual(layer('prior_of_kn/mean'), { metric: 'entry', absolute: 2, relative: 1 });
  t.deepEqual(layer('grad_all/x'), { metric: 'entry', absolute: 4, relative: 3 });
  t.deepEqual(layer('m_out'), { metric: 'entry', absolute: 2e-6, relative: 1e-5 });
});

test('a flipped ReLU passes by the L2 error alone, and is said', (t) => {
  const reference = { shape: [400], data: new Float32Array(400).fill(1) };
  const flipped = { shape: [400], data: reference.data.with(7, 1.5) };
  const comparison = compare('grad/W', flipped, reference, { metric: 'tensor', relative: 1e-4, flips: 5e-2 });
  t.true(comparison.passed);
  t.is(comparison.flipped, 0.025);
  const line = resultLine({ id: 'D', comparisons: [comparison], faults: [] });
  t.regex(line, /^pass {2}D .*only by the flip-tolerant fallback: grad\/W \(error 5\.0e-1, L2 2\.5e-2\)/);
  t.false(compare('', flipped, reference, { metric: 'tensor', relative: 1e-4, flips: null }).passed);

  const average = { ...comparison, name: 'after1/bn0/mean/EMA' };
  t.true(withoutUnfoundedFlips([comparison, average]).every(({ passed }) => passed));
  t.false(withoutUnfoundedFlips([average])[0]!.passed, 'a flip changes no average while gradients agree');
});

test('layouts', (t) => {
  const values = (shape: number[]): Values => {
    return { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i) };
  };
  const activation = values([2, 3, 4, 5]);
  t.deepEqual(toNchw(activation).shape, [2, 5, 3, 4]);
  t.is(toNchw(activation).data[1], 5);
  t.deepEqual(toNhwc(toNchw(activation)), activation);
  const filter = values([3, 2, 4, 5]);
  t.deepEqual(toOihw(filter).shape, [5, 4, 3, 2]);
  t.deepEqual(toHwio(toOihw(filter)), filter);
  const noise = values([1, 2, 3, 8]);
  t.deepEqual(toSamples(noise, 4).shape, [4, 2, 2, 3]);
  // Split 1, channel 0, row 0, column 1.
  t.is(toSamples(noise, 4).data[1 * 12 + 1], 8 + 2);
  t.deepEqual(fromSamples(toSamples(noise, 4)), noise);
});

test("names of the reference's five programs", (t) => {
  const names: [string, string | null][] = [
    ['kn0/gamma', 'norm0.gamma'],
    ['bn0/mean/EMA', 'norm0.runningMean'],
    ['conv0/bn/variance/EMA', 'norm0.runningVariance'],
    ['conv0/W', 'conv0.weight'],
    ['res1.0/conv1_kn/conv1/W', 'stage1.0.conv1.weight'],
    ['res12.34/conv2/W', 'stage12.34.conv2.weight'],
    ['res2.1/kn/beta', 'stage2.1.norm1.beta'],
    ['res2.1/conv1/bn/beta', 'stage2.1.norm2.beta'],
    ['res2.1/kn1/beta', 'stage2.1.norm2.beta'],
    ['bnlast/bn/mean/EMA', 'normLast.runningMean'],
    ['linear/b', 'linear.bias'],
    ['res2.1/conv3/W', null],
    ['linear/gain', null],
  ];
  for (const [reference, own] of names) t.is(ownName(reference), own);
});
