import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { hasEmulation } from '../../lib/cuda.js';
import { openDevice, openProcessGroup, processGroupProblem } from '../../lib/index.js';
import { linesOf, runNode } from './launched.js';
import type { Trained, Training } from './train-worker.js';

// Over a played NCCL (native/emulation/nccl), which checks what it is told and moves values between processes.

const DEVICE = 'cuda-emulated';
const MEMBER = 'test/distributed/member.ts';
const TRAINER = 'test/distributed/train-worker.ts';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-nccl-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

const problem = hasEmulation()
  ? processGroupProblem({ device: openDevice(DEVICE) })
  : 'the emulated device is not built';
/** One at a time: each starts several processes. */
function ncclTest(title: string, body: (t: ExecutionContext) => Promise<void>): void {
  if (problem) test.skip(`SKIPPED, ${problem}: ${title}`, () => {});
  else test.serial(title, body);
}

const launch = (processes: number, args: readonly string[], environment?: NodeJS.ProcessEnv) =>
  runNode(['tools/kalman-norm.mjs', 'launch', '--processes', String(processes), ...args], environment);

let runs = 0;
async function train(processes: number, training: Training): Promise<Trained> {
  const out = join(folder, `${++runs}.json`);
  const args = [TRAINER, JSON.stringify({ ...training, device: DEVICE }), out];
  const { code, output } = await (processes === 1 ? runNode(['--import', 'tsx', ...args]) : launch(processes, args));
  if (code !== 0) throw new Error(output);
  return JSON.parse(await readFile(out, 'utf8')) as Trained;
}

/** Largest difference of any weight, as a share of its tensor's largest. */
function difference(a: Trained, b: Trained): number {
  const shares = Object.entries(a.weights).map(([name, values]) => {
    const others = b.weights[name] as readonly number[];
    const apart = Math.max(...values.map((value, i) => Math.abs(value - (others[i] as number))));
    return apart / Math.max(...values.map(Math.abs), Number.MIN_VALUE);
  });
  return Math.max(...shares);
}

ncclTest('collectives of values of the host', async (t) => {
  const { code, output } = await launch(3, [MEMBER, 'collectives', DEVICE]);
  t.is(code, 0, output);
  const results = linesOf(output);
  t.is(results.length, 3);
  for (const result of results) t.deepEqual(result, { values: [3, 3], mean: [1], given: [10], all: [0, 1, 2] });
});

ncclTest('tensors are reduced on the stream, in a recorded step too', async (t) => {
  const { code, output } = await launch(2, [MEMBER, 'enqueued', DEVICE]);
  t.is(code, 0, output);
  t.deepEqual(linesOf(output), [
    { first: [4, 8], second: [8] },
    { first: [4, 8], second: [8] },
  ]);
});

for (const norm of [
  { type: 'batch', splits: 4 },
  { type: 'reference-kalman', gain: 0.1, splits: 4, transition: 'analytic' },
] as const) {
  ncclTest(`2 and 4 processes train the weights that one does: ${norm.type}`, async (t) => {
    // Shifts of 6 keep ReLUs' inputs away from their kinks; see distributed.test.ts.
    const training: Training = { norm, learningRate: 1e-3, epochs: 2, shift: 6 };
    const alone = await train(1, training);
    for (const processes of [2, 4]) {
      const apart = difference(alone, await train(processes, training));
      t.log(`${processes} processes differ by ${apart.toExponential(1)} of the value`);
      t.true(apart < 1e-5, `${processes} processes differ by ${apart} of the value`);
    }
  });
}

ncclTest('a recorded step gives what an eager one does', async (t) => {
  const training: Training = { norm: { type: 'kalman', splits: 4 }, learningRate: 0.02, epochs: 1 };
  t.is(difference(await train(2, training), await train(2, { ...training, eager: true })), 0);
});

test('a backend that does not fit the device is refused', async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const open = (options: object) => openProcessGroup({ place: { rank: 0, size: 1 }, rendezvous: folder, ...options });
  await t.throwsAsync(open({ device, backend: 'nccl' }), {
    code: 'INVALID_ARGUMENT',
    message: /backend nccl needs a CUDA device in options.device, got cpu/,
  });
  await t.throwsAsync(open({ backend: 'mpi' }), { code: 'INVALID_ARGUMENT', message: /backend must be gloo or nccl/ });
  await t.throwsAsync(open({ device: 'cpu' }), { code: 'INVALID_ARGUMENT', message: /device must be a device/ });
});
