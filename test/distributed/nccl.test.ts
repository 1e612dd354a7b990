import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { hasEmulation } from '../../lib/cuda.js';
import {
  CifarResNet,
  openDevice,
  openProcessGroup,
  processGroupProblem,
  Sgd,
  syntheticDataset,
  Trainer,
} from '../../lib/index.js';
import { difference, groupTests, launch, linesOf, runNode, trainer } from './launched.js';
import type { Training } from './train-worker.js';

// Over a played NCCL (native/emulation/nccl), which checks what it is told and moves values between processes.

const DEVICE = 'cuda-emulated';
const MEMBER = 'test/distributed/member.ts';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-nccl-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

const problem = hasEmulation()
  ? processGroupProblem({ device: openDevice(DEVICE) })
  : 'the emulated device is not built';
const ncclTest = groupTests(problem);
const train = trainer(folder, { device: DEVICE });

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
  { type: 'sync-batch' },
  { type: 'reference-kalman', gain: 0.1, splits: 4, transition: 'analytic' },
] as const) {
  ncclTest(`2 and 4 processes train the weights that one does: ${norm.type}`, async (t) => {
    // Shifts of 6 keep ReLUs' inputs away from their kinks; see distributed.test.ts.
    const training: Training = { norm, learningRate: 1e-3, epochs: 2, shift: 6 };
    const alone = await train(1, training);
    for (const processes of [2, 4]) {
      const apart = difference(alone, await train(processes, training)).ofValue;
      t.log(`${processes} processes differ by ${apart.toExponential(1)} of the value`);
      t.true(apart < 1e-5, `${processes} processes differ by ${apart} of the value`);
    }
  });
}

ncclTest('over Gloo, too, by way of the host', async (t) => {
  // Its statistics and gradients are functions of the host within the recorded step, in one order.
  const training: Training = { norm: { type: 'sync-batch' }, learningRate: 1e-3, epochs: 1, shift: 6 };
  const alone = await train(1, training);
  const apart = difference(alone, await train(2, { ...training, backend: 'gloo' })).ofValue;
  t.true(apart < 1e-5, `2 processes differ by ${apart} of the value`);
});

ncclTest('in a recorded step buckets of gradients and the backward pass do not wait for each other', async (t) => {
  const file = join(folder, 'step.dot');
  process.env.KN_DEBUG_GRAPH = file;
  const device = openDevice(DEVICE);
  delete process.env.KN_DEBUG_GRAPH;
  const place = { rank: 0, size: 1 };
  const group = await openProcessGroup({ place, rendezvous: join(folder, 'graph'), device });
  const dataset = syntheticDataset({ classes: 4, train: 4, test: 4, size: 8 });
  const model = new CifarResNet(device, { n: 1, norm: { type: 'group' }, classes: 4 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.1);
  await new Trainer({ device, model, optimizer, dataset, batchSize: 4, group }).trainEpoch(1);
  const { labels, edges } = parseGraph(await readFile(file, 'utf8'));
  const kernels = [...labels].flatMap(([node, label]) => (label === 'collective' ? [] : [node]));
  // A bucket is a collective for each of its tensors, one behind the other in a stream of their own.
  const collectives = [...labels].flatMap(([node, label]) => (label === 'collective' ? [node] : []));
  const beside = collectives.map((node) => {
    const [before, behind] = [reached(node, edges, 'to'), reached(node, edges, 'from')];
    return kernels.filter((kernel) => !before.has(kernel) && !behind.has(kernel)).length;
  });
  t.log(`${kernels.length} kernels; beside the collectives, from the first on: ${beside.join(', ')}`);
  t.is(collectives.length, optimizer.parameters().length + 3);
  t.true((beside[0] ?? 0) > kernels.length / 4);
  t.is(beside.at(-1), 0, 'the update waits for the last');
  group.close();
});

ncclTest('a recorded step gives what an eager one does', async (t) => {
  const training: Training = { norm: { type: 'kalman', splits: 4 }, learningRate: 0.02, epochs: 1 };
  t.is(difference(await train(2, training), await train(2, { ...training, eager: true })).ofValue, 0);
});

/** A graph as KN_DEBUG_GRAPH writes it. */
function parseGraph(text: string) {
  const labels = new Map([...text.matchAll(/^(\d+) \[label="(.*)"\];$/gm)].map(([, node, label]) => [node, label]));
  const edges = [...text.matchAll(/^(\d+) -> (\d+);$/gm)].map(([, from, to]) => ({ from, to }));
  return { labels, edges };
}

/** Nodes that come before one, looking for it at the ends `to` of edges, or behind it. */
function reached(
  node: string | undefined,
  edges: ReturnType<typeof parseGraph>['edges'],
  end: 'from' | 'to',
): Set<string | undefined> {
  const found = new Set([node]);
  for (const at of found) {
    for (const edge of edges) if (edge[end] === at) found.add(edge[end === 'to' ? 'from' : 'to']);
  }
  return found;
}

ncclTest('a process that is killed ends the others within a second or two, and is named', async (t) => {
  const { code, output } = await launch(3, [MEMBER, 'kill', DEVICE]);
  t.is(code, 1);
  t.regex(output, /launch: rank 2 was ended by SIGKILL/);
  t.regex(output, /\[0\] .*allReduce: rank 2 ended early; this is rank 0/);
});

ncclTest('--restarts starts all anew, with another unique id', async (t) => {
  const { code, output } = await launch(2, ['--restarts', '1', MEMBER, 'kill', DEVICE]);
  t.is(code, 0, output);
  t.regex(output, /starting all anew, 1 of 1/);
});

ncclTest('a process that hangs is named within the time-out', async (t) => {
  const { code, output } = await launch(3, ['--grace', '1', MEMBER, 'hang', DEVICE]);
  t.is(code, 1);
  t.regex(output, /rank 2 did not answer in time/);
});

ncclTest('what NCCL notices by itself ends all, and is told', async (t) => {
  // Eight collectives in, without any call of rank 1's failing.
  const { code, output } = await launch(3, [MEMBER, 'kill', DEVICE], { KN_EMULATION_NCCL_FAIL: '1:8:error' });
  t.is(code, 1);
  for (const rank of [0, 1, 2]) {
    const told = new RegExp(`\\[${rank}\\] .*rank 1 failed with .*NCCL: unhandled system error .*this is rank ${rank}`);
    t.regex(output, told);
  }
});

ncclTest('a kernel that hangs on the stream is given up', async (t) => {
  const hanging = { KN_EMULATION_NCCL_FAIL: '1:8:hang' };
  const { code, output } = await launch(2, ['--grace', '1', MEMBER, 'hang', DEVICE], hanging);
  t.is(code, 1);
  t.regex(output, /GROUP_FAILED/);
  t.regex(output, /nothing has come for 20 s/);
});

ncclTest('a failure at the very end is told, though values have come', async (t) => {
  // Two tensors in a step and in three replays: the last of all.
  const { code, output } = await launch(2, [MEMBER, 'enqueued', DEVICE], { KN_EMULATION_NCCL_FAIL: '1:8:error' });
  t.is(code, 1, output);
  t.regex(output, /GROUP_FAILED/);
  t.regex(output, /a failure on purpose/);
});

ncclTest('all reads that wait fail because the group does', async (t) => {
  const { output } = await launch(2, [MEMBER, 'several', DEVICE], { KN_EMULATION_NCCL_FAIL: '1:2:error' });
  const codes = /^\[1\] (\[.*\])$/m.exec(output)?.[1];
  t.regex(codes ?? output, /^\["(read|GROUP_FAILED)","GROUP_FAILED"\]$/);
});

ncclTest('different calls are reported instead of hanging', async (t) => {
  const { code, output } = await launch(2, [MEMBER, 'mismatch', DEVICE]);
  t.is(code, 1);
  t.regex(output, /rank 0 runs an all-reduce \(sum\) of 4 float32, rank 1 an all-reduce \(sum\) of 5 float32/);
});

ncclTest('a group of one, and what it refuses', async (t) => {
  const device = openDevice(DEVICE);
  const place = { rank: 0, size: 1 };
  const group = await openProcessGroup({ place, rendezvous: join(folder, 'alone'), device });
  t.is(group.backend, 'nccl');
  t.is(group.device, device);
  const integers = device.zeros([2], { dtype: 'int32' });
  t.throws(() => group.enqueueAllReduce([integers]), { code: 'DTYPE_MISMATCH', message: /must be float32, got int32/ });
  const elsewhere = openDevice('cpu', { threads: 1 }).zeros([2]);
  t.throws(() => group.enqueueAllReduce([elsewhere]), { code: 'DEVICE_MISMATCH' });
  const own = device.ones([2]);
  t.throws(() => group.enqueueAllReduce([own], 'max' as never), { code: 'INVALID_ARGUMENT' });
  // None of it has harmed the group.
  group.enqueueAllReduce([own]);
  t.deepEqual([...(await group.watch(own.data()))], [1, 1]);
  group.close();
  group.close();
  t.throws(() => group.enqueueAllReduce([own]), { code: 'INVALID_STATE', message: /after it was closed/ });
  await t.throwsAsync(group.barrier(), { code: 'INVALID_STATE' });
});

ncclTest('a group is closed after its device', async (t) => {
  const device = openDevice(DEVICE);
  const group = await openProcessGroup({ place: { rank: 0, size: 1 }, rendezvous: join(folder, 'late'), device });
  await device.dispose();
  t.notThrows(() => group.close());
});

ncclTest('where there is no NCCL, it is said how to get it', async (t) => {
  const script = `
    import { openDevice, openProcessGroup } from './lib/index.js';
    const place = { rank: 0, size: 1 };
    await openProcessGroup({ place, rendezvous: ${JSON.stringify(folder)}, device: openDevice('${DEVICE}') })
      .catch(({ code, message }) => console.log(code, message));`;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', script];
  const { output } = await runNode(args, { environment: { KN_EMULATION_NCCL: 'libnccl.so.0' } });
  t.regex(
    output,
    /^DEVICE_UNAVAILABLE openProcessGroup: libnccl.so.0, which a process group over NCCL needs, is missing/,
  );
  t.regex(output, /nvidia-nccl-cu13/);
  t.regex(
    (await runNode(args, { environment: { KN_EMULATION_NCCL: '/none/libnccl.so.2' } })).output,
    /^DEVICE_UNAVAILABLE .*can't be had/,
  );
});

ncclTest('NCCL is found in a folder of KN_CUDA_PATH', async (t) => {
  const environment = { KN_EMULATION_NCCL: 'libnccl.so.2', KN_CUDA_PATH: 'build/emulation' };
  const { code, output } = await launch(2, [MEMBER, 'enqueued', DEVICE], environment);
  t.is(code, 0, output);
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
