import test from 'ava';
import {
  backward,
  CifarResNet,
  crossEntropy,
  DeviceRandom,
  LossScaler,
  type NormSpec,
  openDevice,
  Sgd,
  scale,
  syntheticDataset,
  Trainer,
} from '../lib/index.js';

const dataset = syntheticDataset({ train: 32, test: 16, classes: 4 });
const norms: Record<string, NormSpec> = {
  batch: { type: 'batch', splits: 8 },
  Kalman: { type: 'reference-kalman', splits: 8, gain: 'learned' },
};

for (const [name, norm] of Object.entries(norms)) {
  test(`using: model, optimizer, random stream, scaler and trainer free what they hold, ${name}`, async (t) => {
    using device = openDevice('cpu', { threads: 1 });
    {
      using model = new CifarResNet(device, { n: 1, norm, classes: 4 });
      using optimizer = new Sgd(device, model.namedParameters(), 0.1);
      using trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 16 });
      using random = new DeviceRandom(device, 1);
      using scaler = new LossScaler(device);
      await trainer.trainEpoch(1);
      t.is(await random.step(), 0);
      t.is(await scaler.value(), 2 ** 15);
      t.true(device.memoryStats().live > 50);
      // Once more, by hand: a second call does nothing.
      for (const owner of [model, optimizer, trainer, random, scaler]) owner.dispose();
    }
    // Memory that replays have used comes back when they have run.
    await device.synchronize();
    t.is(device.memoryStats().live, 0);
  });
}

test('using: a program frees its memory', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  using x = device.ones([1000]);
  {
    const { program, result } = device.record(() => scale(x, 2));
    using recorded = program;
    recorded.run();
    t.is((await result.data())[0], 2);
    result.dispose();
  }
  await device.synchronize();
  t.is(device.memoryStats().live, 1);
});

test('using: tensors, and graphs with them', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  {
    using logits = device.tensor([1, 2, 3, 4], [2, 2], { requiresGrad: true });
    using labels = device.tensor(Int32Array.of(0, 1));
    const { loss, errors } = crossEntropy(logits, labels);
    using mean = loss;
    using count = errors;
    backward(mean);
    t.false(count.disposed);
  }
  t.is(device.memoryStats().live, 0);
});
