import test from 'ava';
import { backward, CifarResNet, crossEntropy, type Device, Sgd, scope } from '../lib/index.js';
import type { NdArray } from './support/array.js';
import { bits } from './support/compare.js';
import { eachDevice } from './support/devices.js';
import { checkLossSlope } from './support/loss-slope.js';
import { TestRandom } from './support/random.js';

const upload = (device: Device, x: NdArray) => device.tensor(Float32Array.from(x.data), x.shape);

const [BATCH, SPLITS, SIDE] = [8, 4, 8];

function network(device: Device, transition: 'analytic' | 'sampled' = 'analytic') {
  const random = new TestRandom('network', 1);
  const norm = { type: 'kalman', splits: SPLITS, gain: 0.1, transition } as const;
  const model = new CifarResNet(device, { n: 1, norm, seed: 3 });
  const images = upload(device, random.normals([BATCH, 3, SIDE, SIDE]));
  const labels = device.tensor(Int32Array.from({ length: BATCH }, () => random.below(10)));
  return { model, images, labels, lossOf: () => crossEntropy(model.forward(images), labels).loss };
}

/**
 * Along its own gradient g, the loss of a parameter changes by |g| a unit. The step moves the loss by ±CHANGE: against
 * that float32's noise in the loss (of about 3, so 5e-7 of two roundings) is 0.3 %. What else is seen is values that
 * cross a ReLU's kink: it falls with the step, and was 1.3 % at most over several seeds. The seed is fixed.
 */
const CHANGE = 2e-4;
const ALLOWED = 0.02;

eachDevice(test, 'analytic network: finite differences of its own loss, by parameter', async (t, device) => {
  const { model, lossOf } = network(device);
  backward(lossOf());
  await checkLossSlope(t, model.namedParameters(), lossOf, { change: CHANGE, allowed: ALLOWED });
  model.dispose();
});

eachDevice(test, 'analytic network: trains without noise, eagerly and replayed alike', async (t, device) => {
  const { model, images, labels, lossOf } = network(device);
  const start = await model.stateValues();
  const train = async (recorded: boolean) => {
    model.loadStateDict(start);
    const optimizer = new Sgd(device, model.namedParameters(), 0.02, { weightDecay: 1e-4 });
    const step = () =>
      scope(() => {
        model.zeroGrad();
        const value = crossEntropy(model.forward(images), labels).loss;
        backward(value);
        optimizer.step();
      });
    const first = await lossOf().item();
    if (recorded) {
      const { program } = device.record(step);
      program.run(20);
      await device.synchronize();
      program.dispose();
    } else {
      for (let i = 0; i < 20; i++) step();
    }
    const last = await lossOf().item();
    t.true(last < 0.5 * first, `the loss went from ${first} to ${last} on a batch that it could learn by heart`);
    optimizer.dispose();
    return Promise.all([...model.namedParameters().values()].map(async (tensor) => bits(await tensor.data())));
  };
  t.deepEqual(await train(true), await train(false));
  // Inference after training needs no noise either.
  const logits = await model.eval().forward(images).data();
  t.true(logits.every(Number.isFinite));
  model.dispose();
});

eachDevice(test, 'sampled network: training needs noise', (t, device) => {
  const { model, images } = network(device, 'sampled');
  t.throws(() => model.forward(images), { code: 'INVALID_ARGUMENT', message: /noise/ } as object);
  model.dispose();
});
