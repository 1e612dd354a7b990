import test from 'ava';
import {
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  DeviceRandom,
  type NormSpec,
  openDevice,
  relu,
  Sgd,
  scale,
  scope,
} from '../lib/index.js';

const MIB = 2 ** 20;

/** Makes a training step of a small network, with what it needs. */
function trainer(device: Device, norm: NormSpec, batch: number, side: number): () => void {
  const model = new CifarResNet(device, { n: 1, norm });
  const optimizer = new Sgd(device, model.namedParameters(), 0.01);
  const noise = new DeviceRandom(device, 1);
  const pixels = Float32Array.from({ length: batch * 3 * side * side }, (_, i) => Math.sin(i));
  const targets = Int32Array.from({ length: batch }, (_, i) => i % 10);
  return () =>
    scope(() => {
      // Uploads too, as a program would that feeds its own images.
      const logits = model.forward(device.tensor(pixels, [batch, 3, side, side]), noise);
      const { loss } = crossEntropy(logits, device.tensor(targets));
      model.zeroGrad();
      backward(loss);
      optimizer.step();
      noise.advance();
    });
}

for (const norm of [
  { type: 'reference-kalman', splits: 2, gain: 0.1 },
  { type: 'batch', splits: 2 },
] as const) {
  test.serial(`thousands of training steps do not grow, ${norm.type} normalization`, async (t) => {
    using device = openDevice('cpu', { threads: 1 });
    const step = trainer(device, norm, 4, 8);
    const measure = async (steps: number) => {
      for (let i = 0; i < steps; i++) {
        step();
        // As a training loop that looks at its loss: the queue of launches stays short.
        if (i % 50 === 49) await device.synchronize();
      }
      await device.synchronize();
      const { live, inUse, reserved } = device.memoryStats();
      const { rss, heapTotal } = process.memoryUsage();
      return { live, inUse, reserved, native: rss - heapTotal };
    };
    const windows = [await measure(1000), await measure(1000)];
    // JavaScript's heap, which breathes by tens of megabytes, is left out; a leak of one small tensor a step would be more
    // than this limit. What is outside of the heap breathes, too, if less: where it grew by more, the next steps have to
    // grow by less. A leak does it every time.
    const grown = () => (windows.at(-1)?.native ?? 0) - (windows.at(-2)?.native ?? 0);
    if (grown() >= 24 * MIB) windows.push(await measure(1000));
    for (const { live, inUse, reserved } of windows) t.like(windows[0], { live, inUse, reserved });
    t.true(
      grown() < 24 * MIB,
      `memory outside of the heap, in MiB: ${windows.map(({ native }) => native / MIB).join(', ')}`,
    );
  });
}

test('memoryLimit: OUT_OF_MEMORY, and the device still works', async (t) => {
  using device = openDevice('cpu', { threads: 1, memoryLimit: 8 * MIB });
  const kept = device.full([MIB], 3);
  const before = device.memoryStats();
  t.throws(() => device.zeros([4 * MIB]), { code: 'OUT_OF_MEMORY', message: /16777216 bytes.*\[4194304\]/ });
  t.is(device.memoryStats().inUse, before.inUse);
  t.is((await kept.data()).at(-1), 3);
  const y = relu(kept);
  t.is((await y.data()).at(-1), 3);
  t.throws(() => scale(y, 2), { code: 'OUT_OF_MEMORY' });
  kept.dispose();
  const z = scale(y, 2);
  t.is((await z.data()).at(-1), 6);
});

test('memoryLimit: an operation that runs out in the middle of a step leaves nothing behind', async (t) => {
  using probe = openDevice('cpu', { threads: 1 });
  const small = trainer(probe, { type: 'reference-kalman', splits: 2, gain: 0.1 }, 4, 8);
  small();
  await probe.synchronize();
  const needed = probe.memoryStats().peakInUse;

  using device = openDevice('cpu', { threads: 1, memoryLimit: 2 * needed + 4 * MIB });
  const step = trainer(device, { type: 'reference-kalman', splits: 2, gain: 0.1 }, 4, 8);
  step();
  const { live } = device.memoryStats();
  const large = trainer(device, { type: 'reference-kalman', splits: 2, gain: 0.1 }, 512, 32);
  const after = device.memoryStats().live;
  t.throws(large, { code: 'OUT_OF_MEMORY' });
  t.is(device.memoryStats().live, after);
  t.true(after > live);
  // Nothing failed on the device itself.
  step();
  await t.notThrowsAsync(device.synchronize());
});

test('sizes beyond any machine are OUT_OF_MEMORY, not a crash', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  t.throws(() => device.zeros([2 ** 30, 2 ** 30]), { code: 'OUT_OF_MEMORY' });
  t.throws(() => device.zeros([2 ** 24, 2 ** 20]), { code: 'OUT_OF_MEMORY' });
  t.notThrows(() => device.zeros([2]));
});

test('the pool gives memory back when it is trimmed', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const tensor = device.zeros([4 * MIB]);
  t.true(device.memoryStats().inUse >= 16 * MIB);
  tensor.dispose();
  const freed = device.memoryStats();
  t.is(freed.inUse, 0);
  t.true(freed.reserved >= 16 * MIB);
  t.true(freed.peakInUse >= 16 * MIB);
  device.trimMemory();
  t.is(device.memoryStats().reserved, 0);
  device.resetPeakMemory();
  t.is(device.memoryStats().peakInUse, 0);
  // Freed memory is used again.
  const again = device.zeros([1000]);
  again.dispose();
  const { systemAllocations } = device.memoryStats();
  device.zeros([1000]).dispose();
  t.is(device.memoryStats().systemAllocations, systemAllocations);
});

test('the garbage collector frees forgotten tensors', async (t) => {
  if (!globalThis.gc) {
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    globalThis.gc = runInNewContext('gc') as typeof globalThis.gc;
  }
  using device = openDevice('cpu', { threads: 1 });
  (() => {
    for (let i = 0; i < 100; i++) device.zeros([1000]);
  })();
  t.is(device.memoryStats().live, 100);
  for (let i = 0; i < 20 && device.memoryStats().live > 0; i++) {
    globalThis.gc!();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.true(device.memoryStats().live < 10, `${device.memoryStats().live} of 100 are left`);
});
