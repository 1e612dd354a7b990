import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { writeReport } from '../../experiments/report.js';
import { lockFolder, unlockFolder } from '../../experiments/run-folder.js';
import { execute, stageOf } from '../../experiments/sweep/execute.js';
import { type PlannedRun, planOf, readPlan } from '../../experiments/sweep/plan.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-sweep-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const { signal } = new AbortController();

test('a grid: every combination with every seed; a list of grids one after the other', (t) => {
  const { runs, jobs, out } = planOf(
    {
      jobs: 3,
      seeds: 2,
      flags: { epochs: 3, eager: true, download: false, n: 1 },
      grid: [
        { norm: ['batch', 'kalman'], splits: [1, 64] },
        { norm: 'group', lr: 0.05 },
      ],
    },
    'somewhere',
  );
  t.is(jobs, 3);
  t.is(out, 'somewhere');
  t.deepEqual(
    runs.map(({ name }) => name),
    [
      'norm=batch,splits=1',
      'norm=batch,splits=64',
      'norm=kalman,splits=1',
      'norm=kalman,splits=64',
      'norm=group,lr=0.05',
    ].flatMap((name) => [`${name},seed=0`, `${name},seed=1`]),
  );
  const { args, dir, configuration } = runs[3] as PlannedRun;
  t.deepEqual(args, ['--epochs=3', '--eager', '--n=1', '--norm=batch', '--splits=64', '--seed=1']);
  t.is(dir, join('somewhere', 'norm=batch,splits=64,seed=1'));
  t.like(configuration, {
    epochs: 3,
    eager: true,
    download: false,
    n: 1,
    seed: 1,
    norm: { type: 'batch', splits: 64 },
  });
});

test('a sweep of more runs than anybody makes is refused before they are made', (t) => {
  const many = Array.from({ length: 200 }, (_, i) => (i + 1) / 1000);
  const [expected, code] = [/expected at most 10000 runs, got \d+/, 'INVALID_ARGUMENT'];
  for (const content of [
    { seeds: 1e9 },
    { seeds: 51, grid: { lr: many } },
    { grid: { lr: many, agc: many, epochs: many.map((_, i) => i + 1) } },
  ])
    t.throws(() => planOf(content, 'somewhere'), { code, message: expected } as object);
});

test('YAML and JSON say the same; the file names the folder', async (t) => {
  const content = { experiment: 'cifar-gn', seeds: [4, 7], grid: { groups: [2, 8] } };
  const json = join(root, 'one.json');
  await writeFile(json, JSON.stringify(content));
  const yaml = join(root, 'one.yaml');
  await writeFile(yaml, 'experiment: cifar-gn\nseeds: [4, 7]\ngrid:\n  groups:\n    - 2\n    - 8\n');
  t.deepEqual(await readPlan(yaml), await readPlan(json));
  t.is((await readPlan(yaml)).out, join('train_log', 'one'));
});

test('what no run can be made of is refused, by its place', async (t) => {
  const wrong: [unknown, RegExp][] = [
    [[], /the sweep: expected a mapping, got \[\]/],
    [{ seed: 3 }, /unknown "seed"; did you mean "seeds"\?/],
    [{ experiment: 'x' }, /experiment: expected one of cifar, .*, got "x"/],
    [{ jobs: 0 }, /jobs: expected a whole number of at least 1, got 0/],
    [{ out: 3 }, /out: expected a folder, got 3/],
    [{ seeds: [1, -1] }, /seeds: .* got \[1,-1\]/],
    [{ seeds: 0 }, /seeds: .* got 0/],
    [{ seeds: [1, 1] }, /seed=1 is there twice/],
    [{ flags: { seed: 1 } }, /flags\.seed is not for a sweep: use "seeds"/],
    [{ grid: { log_dir: ['a'] } }, /grid\.log_dir is not for a sweep/],
    [{ grid: [{ lr: [] }] }, /grid\[0\]\.lr: expected a value or a list of values/],
    [{ grid: [] }, /grid: expected a mapping/],
    [{ grid: { lr: [null] } }, /grid\.lr: expected a text, a number or true, got null/],
    [{ grid: { splitz: [1] } }, /splitz=1,seed=0: Unknown option '--splitz'; did you mean --splits\?/],
    [{ grid: { norm: ['group'], splits: [2] } }, /norm=group,splits=2,seed=0: --splits has no meaning for/],
    [{ grid: { 'batch-size': [100], splits: [1, 64] } }, /splits=64,seed=0: --splits: expected a divisor/],
  ];
  for (const [content, message] of wrong) {
    t.throws(() => planOf(content, 'x'), { code: 'INVALID_ARGUMENT', message } as object, JSON.stringify(content));
  }
  const path = join(root, 'broken.yaml');
  await writeFile(path, 'grid: [1, 2\nseeds: 3');
  await t.throwsAsync(readPlan(path), {
    code: 'FILE_CORRUPT',
    message: /broken\.yaml: expected YAML or JSON/,
  } as object);
  await t.throwsAsync(readPlan(join(root, 'none.yaml')), { code: 'FILE_NOT_FOUND' } as object);
});

const flags = {
  dataset: 'synthetic',
  device: 'cpu',
  n: 1,
  threads: 1,
  'batch-size': 16,
  'limit-train': 32,
  'limit-test': 16,
  epochs: 2,
};
const tiny = (out: string) => ({ experiment: 'cifar-gn', out, jobs: 2, seeds: 2, flags, grid: { lr: [0.01, 0.02] } });

/** Starts the command; it is killed as soon as all of some files are there, and its code is null then. */
function sweep(file: string, until: readonly string[] = []) {
  const child = spawn(process.execPath, ['--import=tsx', 'experiments/sweep.ts', file]);
  let text = '';
  const note = (chunk: Buffer) => {
    text += String(chunk);
  };
  child.stdout.on('data', note);
  child.stderr.on('data', note);
  const timer = setInterval(
    () => until.length > 0 && until.every((path) => existsSync(path)) && child.kill('SIGKILL'),
    10,
  );
  return new Promise<{ code: number | null; text: string }>((resolve) =>
    child.on('close', (code) => {
      clearInterval(timer);
      resolve({ code, text });
    }),
  );
}

test.serial(
  'a sweep that was killed goes on: each run once, and the report has a curve for each configuration',
  async (t) => {
    const out = join(root, 'killed');
    const file = join(root, 'killed.json');
    await writeFile(file, JSON.stringify(tiny(out)));
    const { runs } = planOf(tiny(out), '');
    // Its first two runs live on, and are waited for or found at their end.
    const begun = runs.slice(0, 2).map(({ dir }) => join(dir, 'log.jsonl'));
    t.is((await sweep(file, begun)).code, null);
    const { code, text } = await sweep(file);
    t.is(code, 0, text);
    t.regex(text, /\n4 finished\n/);

    for (const run of runs) {
      t.is(await stageOf(run), 'finished');
      const types = (await readFile(join(run.dir, 'log.jsonl'), 'utf8')).trim().split('\n');
      t.deepEqual(
        types.map((line) => JSON.parse(line).type),
        ['config', 'epoch', 'epoch', 'end'],
        run.name,
      );
    }
    t.deepEqual(
      (await readdir(out)).filter((name) => !name.endsWith('.txt')),
      runs.map(({ name }) => name).sort(),
    );
    const report = await writeReport([out]);
    t.deepEqual(
      report.runs.map(({ members, config }) => [config.learningRate, members?.length]),
      [
        [0.01, 2],
        [0.02, 2],
      ],
    );

    const longer = planOf({ ...tiny(out), flags: { ...flags, epochs: 3 } }, '');
    await t.throwsAsync(execute(longer, { signal }), {
      code: 'INVALID_ARGUMENT',
      message: /is there from an earlier sweep, and --epochs is 2 in the run, got 3/,
    } as object);
  },
);

test.serial('a run that fails is told with its reason, and the others go on; an ended sweep starts none', async (t) => {
  const plan = planOf(
    { ...tiny(join(root, 'failing')), jobs: 1, seeds: 1, grid: [{ load: join(root, 'no-model') }, { lr: 0.01 }] },
    '',
  );
  const events: string[] = [];
  const outcomes = await execute(plan, {
    signal,
    onChange: ({ name }, event, detail) => events.push(`${event} ${name} ${detail}`),
  });
  t.deepEqual(outcomes, ['failed', 'finished']);
  t.regex(events[1] ?? '', /^failed load=.* cifar-gn: .*no-model/);

  const controller = new AbortController();
  const stopped = await execute(planOf(tiny(join(root, 'stopped')), ''), {
    signal: controller.signal,
    onChange: () => controller.abort(),
  });
  t.deepEqual([...new Set(stopped)], ['interrupted']);
});

test.serial('a second sweep of the same folder is refused while the first one runs', async (t) => {
  const out = join(root, 'failing');
  await lockFolder(out);
  await t.throwsAsync(execute(planOf(tiny(out), ''), { signal }), {
    code: 'INVALID_STATE',
    message: /in use by process/,
  } as object);
  await unlockFolder(out);
});
