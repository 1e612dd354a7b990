/**
 * Ends that come in the middle of work: `npm run check:asan` runs these under AddressSanitizer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { KalmanNorm2d, openDevice, relu, scope } from '../lib/index.js';
import { recordStep } from './support/lifetime.js';
import { program } from './support/program.js';
import { SEED, TestRandom } from './support/random.js';

const support = new URL('./support/lifetime.ts', import.meta.url).href;

/** A worker in the middle of its training steps. */
async function busyWorker(): Promise<Worker> {
  // Workers get no tsx from --import before Node 20.11: they register it themselves.
  const boot = `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(support)}); });`;
  const worker = new Worker(boot, { eval: true });
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return worker;
}

test('workers are terminated in the middle of their steps, while this thread goes on with its own', async (t) => {
  const random = new TestRandom(t.title);
  t.log(`seed ${SEED}`);
  using device = openDevice('cpu', { threads: 1 });
  const { program: step, loss } = recordStep(device);
  let steps = 0;
  let stopped = false;
  const own = (async () => {
    for (; !stopped; steps++) {
      step.run();
      t.true(Number.isFinite(await loss.item()));
    }
  })();
  for (let round = 0; round < 3; round++) {
    const workers = await Promise.all([busyWorker(), busyWorker()]);
    await sleep(random.uniform(0, 30));
    t.deepEqual(await Promise.all(workers.map((worker) => worker.terminate())), [1, 1]);
  }
  stopped = true;
  await own;
  t.true(steps > 0);
});

for (const [how, end, code] of [
  ['process.exit', 'process.exit(3)', 3],
  ['an exception', "throw new Error('in the middle')", 1],
  ['a rejection that nobody handles', "Promise.reject(new Error('in the middle'))", 1],
] as const) {
  test(`a process ends in the middle of its steps, by ${how}`, async (t) => {
    const random = new TestRandom(t.title);
    for (let round = 0; round < 2; round++) {
      const delay = random.uniform(0, 20);
      const {
        code: ended,
        signal,
        output,
      } = await program(`
        const { work } = await import('${support}');
        setTimeout(() => setTimeout(() => { ${end}; }, ${delay}), 500);
        await work(kn.openDevice('cpu', { threads: 2 }));
      `);
      t.is(signal, null, output);
      t.is(ended, code, `after ${delay} ms: ${output}`);
    }
  });
}

test('process.exit in a worker ends that worker alone, and in the main thread all of them', async (t) => {
  const { code, signal, output } = await program(`
    const { Worker } = await import('node:worker_threads');
    const boot = (then) => "import('tsx/esm/api').then(({ register }) => { register(); " + then + " return import('${support}'); });";
    const start = (then) => new Worker(boot(then), { eval: true });
    const ended = start('setTimeout(() => process.exit(7), 700);');
    const running = [start(''), start('')].map((worker) => new Promise((resolve) => worker.once('message', resolve)));
    console.log(await new Promise((resolve) => ended.once('exit', resolve)));
    await Promise.all(running);
    process.exit(5);
  `);
  t.is(signal, null, output);
  t.is(output.trim(), '7');
  t.is(code, 5);
});

test('an exception in a callback leaves device and memory as they were', async (t) => {
  using device = openDevice('cpu', { threads: 2 });
  using x = device.ones([4, 8, 6, 6]);
  using norm = new KalmanNorm2d(device, 8, { splits: 2 });
  await device.synchronize();
  const { live } = device.memoryStats();
  const failing = (): never => {
    relu(x);
    throw new Error('in the middle');
  };
  const expected = { message: 'in the middle' };
  for (let round = 0; round < 20; round++) {
    t.throws(() => scope(failing), expected);
    t.throws(() => device.record(() => scope(failing)), expected);
    norm.observer = failing;
    t.throws(() => scope(() => norm.forward(x)), expected);
    norm.observer = null;
    using y = relu(x);
    await t.throwsAsync(
      y.data().then(() => {
        throw new Error('in the middle');
      }),
      expected,
    );
    t.is((await y.data())[0], 1);
  }
  await device.synchronize();
  t.is(device.memoryStats().live, live);
});
