import { spawn } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { KalmanNormError, openDevice, relu } from '../lib/index.js';
import { program } from './support/program.js';

const library = new URL('../lib/index.ts', import.meta.url).href;
const workerFile = new URL('./support/worker.ts', import.meta.url);

function work(values: number[], pending = false): Promise<{ result: number[]; code: number }> {
  // Workers get no tsx from --import before Node 20.11: they register it themselves.
  const boot = `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(workerFile.href)}); });`;
  const worker = new Worker(boot, { eval: true, workerData: { values, pending } });
  return new Promise((resolve, reject) => {
    let result: number[] = [];
    worker.on('message', (message: number[]) => {
      result = message;
    });
    worker.on('error', reject);
    worker.on('exit', (code) => resolve({ result, code }));
  });
}

test('worker threads: load, compute, exit', async (t) => {
  t.deepEqual(await work([1, -2, 3]), { result: [1, 0, 3], code: 0 });
});

test('worker threads: several at once beside the main thread', async (t) => {
  using device = openDevice('cpu', { threads: 2 });
  const own = relu(device.tensor([-1, 5])).data();
  const results = await Promise.all([work([1, -1]), work([-7, 2]), work([0, 9])]);
  t.deepEqual(
    results.map(({ result }) => result),
    [
      [1, 0],
      [0, 2],
      [0, 9],
    ],
  );
  t.deepEqual([...(await own)], [0, 5]);
});

test('worker threads: end with work pending on their device', async (t) => {
  t.deepEqual(await work([4], true), { result: [4], code: 0 });
  // The addon still works here.
  using device = openDevice('cpu', { threads: 1 });
  t.deepEqual([...(await relu(device.tensor([-1, 1])).data())], [0, 1]);
});

test('worker threads: terminated in the middle of work', async (t) => {
  const boot = `
    const { parentPort } = require('node:worker_threads');
    import('tsx/esm/api').then(async ({ register }) => {
      register();
      const { openDevice, relu } = await import('${library}');
      const device = openDevice('cpu', { threads: 1 });
      const big = device.ones([1 << 22]);
      for (let i = 0; i < 100; i++) relu(big);
      parentPort.postMessage('busy');
      await big.data();
    });`;
  const worker = new Worker(boot, { eval: true });
  await new Promise((resolve) => worker.once('message', resolve));
  t.is(await worker.terminate(), 1);
});

test('worker threads: idle threads of a team sleep, also where a worker loads the addon first', async (t) => {
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { Worker } from 'node:worker_threads';
      const boot = "import('tsx/esm/api').then(({ register }) => { register(); return import('${library}'); });";
      new Worker(boot, { eval: true });`,
    ],
    // Makes libgomp say how it is set.
    { env: { ...process.env, OMP_DISPLAY_ENV: 'verbose', OMP_WAIT_POLICY: undefined } },
  );
  let output = '';
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  t.is(code, 0, output);
  t.regex(output, /GOMP_SPINCOUNT = '0'/);
});

test('a process with nothing pending ends by itself', async (t) => {
  const { code, signal, output } = await program(`
    const device = kn.openDevice('cpu', { threads: 2 });
    console.log((await kn.relu(device.tensor([-1, 2])).data()).join());
  `);
  t.deepEqual({ code, signal, output }, { code: 0, signal: null, output: '0,2\n' });
});

test('a process waits for data that was asked for', async (t) => {
  const { code, output } = await program(`
    const device = kn.openDevice('cpu', { threads: 2 });
    kn.relu(device.tensor([-1, 2])).data().then((values) => console.log(values.join()));
  `);
  t.deepEqual({ code, output }, { code: 0, output: '0,2\n' });
});

for (const exit of ['process.exit(3)', 'process.exitCode = 3', "setTimeout(() => { throw new Error('late'); })"]) {
  test(`a process ends with work pending: ${exit}`, async (t) => {
    const { code, signal, output } = await program(`
      const device = kn.openDevice('cpu', { threads: 2 });
      const big = device.ones([1 << 22]);
      for (let i = 0; i < 100; i++) kn.relu(big).dispose();
      big.data();
      device.synchronize();
      ${exit};
    `);
    t.is(signal, null, output);
    t.is(code, exit.startsWith('process') ? 3 : 1, output);
  });
}

// Work for years, in one replay and behind it.
const endless = `
  const device = kn.openDevice('cpu', { threads: 1 });
  const x = device.ones([1 << 16]);
  const { program } = device.record(() => kn.relu(x).dispose());
  program.run(2 ** 31 - 1);
  for (let i = 0; i < 1000; i++) program.run(2 ** 31 - 1);
  const values = x.data();
`;

for (const exit of ['process.exit(3)', "throw new Error('at once')"]) {
  test(`work that has not started keeps no process: ${exit}`, async (t) => {
    const { code, signal, output } = await program(`${endless} setTimeout(() => { ${exit}; }, 50);`);
    t.is(signal, null, output);
    t.is(code, exit.startsWith('process') ? 3 : 1, output);
    t.is(output.includes('at once'), !exit.startsWith('process'));
  });
}

test('work that has not started keeps no worker', async (t) => {
  const boot = `
    const { parentPort } = require('node:worker_threads');
    import('tsx/esm/api').then(async ({ register }) => {
      register();
      const kn = await import('${library}');
      ${endless}
      parentPort.postMessage('busy');
      await values;
    });`;
  const worker = new Worker(boot, { eval: true });
  await new Promise((resolve) => worker.once('message', resolve));
  t.is(await worker.terminate(), 1);
});

test('the event loop stays free while the device works', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const x = device.ones([1 << 22]);
  const started = performance.now();
  for (let i = 0; i < 100; i++) relu(x).dispose();
  const enqueued = performance.now() - started;
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await device.synchronize();
  clearInterval(timer);
  const total = performance.now() - started;
  t.true(enqueued < total / 2, `enqueueing took ${enqueued} of ${total} ms`);
  t.true(ticks > 3, `${ticks} ticks in ${total} ms`);
});

test('values are copied: changing them after upload or download changes nothing', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const values = Float32Array.of(1, 2);
  const x = device.tensor(values);
  values.fill(9);
  const first = await x.data();
  t.deepEqual([...first], [1, 2]);
  first.fill(7);
  t.deepEqual([...(await x.data())], [1, 2]);
});

test('errors of the addon are KalmanNormErrors', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const error = t.throws(() => device.tensor([1]).copyFrom(device.ones([2])), { instanceOf: KalmanNormError });
  t.is(error.name, 'KalmanNormError');
  t.true(error.stack?.includes('addon.test.ts'));
});

test('disposal of a device drops the work that nobody waits for, and never blocks', async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const x = device.ones([1 << 16]);
  const { program } = device.record(() => relu(x).dispose());
  const values = x.data();
  const disposal = device.dispose();
  t.true(device.disposed);
  await disposal;
  t.is((await values)[0], 1);

  const busy = openDevice('cpu', { threads: 1 });
  const y = busy.ones([1 << 16]);
  const endless = busy.record(() => relu(y).dispose()).program;
  for (let i = 0; i < 1000; i++) endless.run(2 ** 31 - 1);
  await busy.dispose();
  await busy.dispose();
  t.throws(() => busy.ones([1]), { code: 'DISPOSED' });
  for (const kept of [program, endless]) kept.dispose();
});
