import test from 'ava';
import { type Device, openDevice, relu, type Tensor } from '../lib/index.js';
import { deviceNames } from './support/devices.js';

const CANCELLED = { code: 'CANCELLED', message: /cancelled before it had run/ };

/** Enqueues work for years. */
function endless(device: Device, x: Tensor) {
  const { program } = device.record(() => relu(x).dispose());
  for (let i = 0; i < 100; i++) program.run(2 ** 31 - 1);
  return program;
}

test('cancel: what has not started is dropped, its promises reject, and the device goes on', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const x = device.tensor([-1, 2]);
  await x.data();
  using program = endless(device, x);
  x.fill(7); // never runs
  const results = [x.data(), x.data(), device.synchronize()];
  t.is(device.queueDepth, 100 + 1 + 2);
  device.cancel();
  for (const result of results) await t.throwsAsync<Error>(result as Promise<unknown>, CANCELLED);
  await device.synchronize();
  t.is(device.queueDepth, 0);
  t.deepEqual([...(await x.data())], [-1, 2]);
  program.run(3);
  t.deepEqual([...(await relu(x).data())], [0, 2]);
});

test('cancel: again and again, with nothing to drop too', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const x = device.tensor([-1, 2]);
  await x.data(); // or its upload is dropped, too
  device.cancel();
  for (let i = 0; i < 20; i++) {
    using _program = endless(device, x);
    const values = x.data();
    device.cancel();
    device.cancel();
    await t.throwsAsync(values, CANCELLED);
    t.deepEqual([...(await x.data())], [-1, 2]);
  }
  device.record(() => t.throws(() => device.cancel(), { code: 'INVALID_STATE', message: /recording/ }));
  await device.dispose();
  t.throws(() => device.cancel(), { code: 'DISPOSED' });
  t.throws(() => device.queueDepth, { code: 'DISPOSED' });
});

for (const name of deviceNames) {
  test(`cancel: memory is free again, and what came before or comes after is right [${name}]`, async (t) => {
    using device = openDevice(name);
    const x = device.tensor([-1, 2]);
    await x.data();
    const { live } = device.memoryStats();
    for (let i = 0; i < 50; i++) relu(x).dispose();
    const values = Array.from({ length: 5 }, () => x.data());
    device.cancel();
    for (const value of values) await t.throwsAsync(value, CANCELLED);
    t.deepEqual([...(await x.data())], [-1, 2]);
    t.is(device.memoryStats().live, live);
  });

  test(`queueDepth: rises by what is enqueued, is 0 at rest, and holds a producer back [${name}]`, async (t) => {
    using device = openDevice(name);
    const x = device.ones([2 ** 16]);
    await device.synchronize();
    t.is(device.queueDepth, 0);
    for (let i = 0; i < 20; i++) relu(x).dispose();
    t.true(device.queueDepth <= 20);
    const { program } = device.record(() => relu(x).dispose());
    let most = 0;
    for (let i = 0; i < 200; i++) {
      if (device.queueDepth > 30) await device.synchronize();
      program.run();
      most = Math.max(most, device.queueDepth);
    }
    t.true(most <= 31, `${most}`);
    await device.synchronize();
    t.is(device.queueDepth, 0);
    program.dispose();
  });
}
