import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type NormSpec, openProcessGroup, processGroupProblem, processPlace } from '../../lib/index.js';
import { parseLaunch } from '../../tools/launch.mjs';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-distributed-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

const problem = processGroupProblem();
const groupTest = problem ? (title: string, _: unknown) => test.skip(`SKIPPED, ${problem}: ${title}`, () => {}) : test;

/** Runs a program to its end. */
function run(args: readonly string[]): Promise<{ code: number | null; output: string; seconds: number }> {
  const began = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, output, seconds: (performance.now() - began) / 1000 }));
  });
}

const launched = (processes: number, ...rest: string[]) =>
  run(['tools/kalman-norm.mjs', 'launch', '--processes', String(processes), ...rest]);

const TRAINER = 'test/distributed/train-worker.ts';
interface Trained {
  losses: number[];
  weights: Record<string, number[]>;
}

async function train(processes: number, norm: object, eager = ''): Promise<Trained> {
  const out = join(folder, `${JSON.stringify(norm).replace(/\W/g, '')}-${processes}${eager}.json`);
  const args = [TRAINER, JSON.stringify(norm), eager, out];
  const { code, output } = await (processes === 1 ? run(['--import', 'tsx', ...args]) : launched(processes, ...args));
  if (code !== 0) throw new Error(output);
  return JSON.parse(await readFile(out, 'utf8')) as Trained;
}

/** Largest difference of two networks' values, as a share of the largest value of each tensor. */
function difference(a: Trained, b: Trained): number {
  return Math.max(
    ...Object.entries(a.weights).map(([name, values]) => {
      const others = b.weights[name] as number[];
      const largest = Math.max(...values.map(Math.abs), 1e-3);
      return Math.max(...values.map((value, i) => Math.abs(value - (others[i] as number)))) / largest;
    }),
  );
}

/** Norms that keep nothing from step to step that training depends on, but per split. */
const norms: readonly NormSpec[] = [
  { type: 'batch', splits: 4 },
  { type: 'group' },
  { type: 'layer' },
  { type: 'frn' },
  { type: 'evonorm' },
  { type: 'normalizer-free' },
];

for (const norm of norms) {
  groupTest(`2 and 4 processes train the weights that one does: ${norm.type}`, async (t) => {
    t.timeout(300_000);
    const alone = await train(1, norm);
    for (const processes of [2, 4]) {
      const together = await train(processes, norm);
      const differs = difference(alone, together);
      t.log(`${processes} processes: ${differs.toExponential(1)}`);
      t.true(differs < 1e-3, `${processes} processes differ by ${differs}`);
      t.true(Math.abs((alone.losses[3] as number) - (together.losses[3] as number)) < 1e-4);
    }
  });
}

groupTest('a recorded step gives what an eager one does', async (t) => {
  const norm = { type: 'kalman', splits: 4 };
  t.is(difference(await train(2, norm), await train(2, norm, 'eager')), 0);
});

const MEMBER = 'test/distributed/member.ts';

groupTest('collectives', async (t) => {
  const { code, output } = await launched(3, MEMBER, 'collectives');
  t.is(code, 0, output);
  const results = [...output.matchAll(/^\[\d\] (\{.*)$/gm)].map(([, line]) => JSON.parse(line as string));
  t.is(results.length, 3);
  for (const result of results) t.deepEqual(result, { values: [3, 3], mean: [1], given: [10], all: [0, 1, 2] });
});

groupTest('a process that is killed ends the others, and is named', async (t) => {
  const { code, output, seconds } = await launched(3, MEMBER, 'kill');
  t.is(code, 1);
  t.regex(output, /launch: rank 2 was ended by SIGKILL/);
  t.regex(output, /\[0\] .*rank 2 ended early; this is rank 0/);
  t.true(seconds < 28, `${seconds} s`);
});

groupTest('an exception ends the others, with its last words', async (t) => {
  const { code, output } = await launched(2, MEMBER, 'throw');
  t.is(code, 1);
  t.regex(output, /launch: rank 1 failed with exit status 1; its last words:.*the data ran out/s);
});

groupTest('a process that hangs is named within the time-out', async (t) => {
  const { code, output, seconds } = await launched(3, '--grace', '1', MEMBER, 'hang');
  t.is(code, 1);
  t.regex(output, /rank 2 did not answer in time/);
  t.true(seconds < 28, `${seconds} s`);
});

groupTest('--restarts starts all anew', async (t) => {
  const { code, output } = await launched(2, '--restarts', '1', MEMBER, 'kill');
  t.is(code, 0, output);
  t.regex(output, /starting all anew, 1 of 1/);
});

groupTest('processes of different configurations are refused on every rank', async (t) => {
  const { output } = await launched(2, MEMBER, 'configuration');
  t.regex(output, /\[0\] .*rank 1 has another configuration than rank 0/);
  t.regex(output, /\[1\] .*rank 0 has another configuration than rank 1/);
});

groupTest('a rendezvous that is taken, or to which not all come', async (t) => {
  const meet = (rank: number, name: string) =>
    openProcessGroup({ place: { rank, size: 2 }, rendezvous: join(folder, name), timeout: 0.2 });
  await t.throwsAsync(meet(0, 'lonely'), { code: 'GROUP_FAILED', message: /rank 1 did not come within 0.2 s/ });
  await t.throwsAsync(meet(0, 'lonely'), { code: 'GROUP_FAILED', message: /rank 0 is taken already/ });
});

test('the place of a process, by its launcher', (t) => {
  t.is(processPlace({}), null);
  const place = { rank: 1, size: 4 };
  t.deepEqual(processPlace({ KALMAN_NORM_RANK: '1', KALMAN_NORM_PROCESSES: '4' }), place);
  t.deepEqual(processPlace({ RANK: '1', WORLD_SIZE: '4' }), place);
  t.deepEqual(processPlace({ OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '4' }), place);
  t.deepEqual(processPlace({ PMI_RANK: '1', PMI_SIZE: '4' }), place);
  t.deepEqual(processPlace({ SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4' }), place);
  for (const [rank, size] of [
    ['4', '4'],
    ['-1', '2'],
    ['a', '2'],
    ['0', undefined],
  ] as const) {
    t.throws(() => processPlace({ RANK: rank, WORLD_SIZE: size }), { code: 'INVALID_ARGUMENT', message: /torchrun/ });
  }
});

test("launch: flags behind the script are the script's", (t) => {
  t.deepEqual(parseLaunch(['--processes', '2', '--restarts=3', 'a.ts', '--processes', '9']), {
    processes: 2,
    restarts: 3,
    grace: 5,
    script: 'a.ts',
    scriptArguments: ['--processes', '9'],
  });
  t.throws(() => parseLaunch(['a.ts']), { message: /--processes: expected a whole number of at least 1, got none/ });
  t.throws(() => parseLaunch(['--processes', '2']), { message: /which script/ });
});
