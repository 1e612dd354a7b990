import { constants, PerformanceObserver } from 'node:perf_hooks';
import test from 'ava';
import { type Device, openDevice } from '../lib/index.js';
import { deviceNames } from './support/devices.js';

const MIB = 2 ** 20;

/** As many bytes of float32 zeros, which the caller may forget. */
function zeros(device: Device, bytes: number) {
  return device.zeros([bytes / 4]);
}

/** Lets the finalizers and promises run that are due. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Counts the collections of the whole heap until `stop`. */
function countCollections() {
  let count = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries()) {
      if ((detail as { kind: number }).kind === constants.NODE_PERFORMANCE_GC_MAJOR) count++;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return async () => {
    await turn();
    await turn();
    observer.disconnect();
    return count;
  };
}

for (const name of deviceNames) {
  test.serial(`forgotten tensors make room within a synchronous loop [${name}]`, async (t) => {
    using device = openDevice(name, { memoryLimit: 32 * MIB });
    const kept = device.full([MIB], 3);
    for (let i = 0; i < 60; i++) zeros(device, 4 * MIB);
    t.true(device.memoryStats().reserved <= 32 * MIB);
    t.true((await kept.data()).every((value) => value === 3));
    // What is still reachable is never freed: then there is no room.
    const all = [kept];
    t.throws(
      () => {
        for (;;) all.push(zeros(device, 4 * MIB));
      },
      { code: 'OUT_OF_MEMORY' },
    );
    t.is(all.length, 8);
    t.true((await kept.data()).every((value) => value === 3));
  });

  test.serial(`forgotten tensors make room within an asynchronous loop [${name}]`, async (t) => {
    using device = openDevice(name, { memoryLimit: 32 * MIB });
    for (let i = 0; i < 60; i++) {
      t.is((await device.full([MIB / 2], i).data()).at(-1), i);
    }
    t.true(device.memoryStats().reserved <= 32 * MIB);
  });
}

test.serial('without a limit forgotten tensors are collected before they fill the machine', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  for (let i = 0; i < 1500; i++) {
    zeros(device, 2 * MIB);
    if (i % 100 === 99) await turn();
  }
  const { peakInUse } = device.memoryStats();
  t.true(peakInUse < 1024 * MIB, `${peakInUse / MIB} MiB of 3,000 were held at once`);
});

test.serial('steps that free what they make cause no storm of collections', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const stop = countCollections();
  for (let step = 0; step < 100; step++) {
    const made = Array.from({ length: 12 }, () => zeros(device, 32 * MIB));
    for (const tensor of made) tensor.dispose();
    await turn();
  }
  const collections = await stop();
  // A few while it grows, none later: 37.5 GiB are made in all.
  t.true(collections < 15, `${collections} collections in 100 steps of 384 MiB`);
});
