import test from 'ava';
import {
  Belief,
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  HostRandom,
  ReferenceKalmanBlock,
  ReferenceKalmanNorm2d,
  Sgd,
  scope,
  type Tensor,
} from '../../lib/index.js';
import type { NdArray } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { checkLossSlope } from '../support/loss-slope.js';
import { TestRandom } from '../support/random.js';
import { analyticBlock } from '../support/reference-transition.js';

const upload = (device: Device, x: NdArray) => device.tensor(Float32Array.from(x.data), x.shape);

for (const { title, shape, splits, widens, first } of [
  { title: 'plain', shape: [4, 8, 3, 5], splits: 2, widens: false, first: false },
  { title: 'widening', shape: [4, 6, 6, 4], splits: 4, widens: true, first: false },
  { title: 'the first one', shape: [3, 5, 4, 3], splits: 1, widens: false, first: true },
] as const) {
  eachDevice(test, `ReferenceKalmanBlock, analytic: ${title}, [${shape}] in ${splits}`, async (t, device, random) => {
    const [, channels] = shape;
    const [outChannels, gain] = [widens ? 2 * channels : channels, 0.3];
    const filter = (from: number) => ({
      ...random.normals([outChannels, from, 3, 3], 0, Math.sqrt(2 / (9 * from))),
      format: 'filter' as const,
    });
    const outer = first ? [] : (['gamma1', 'beta1'] as const);
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals(shape),
        mean: random.normals([splits * channels], 0, 0.5),
        variance: random.uniforms([splits * channels], 0.5, 1.5),
        conv1: filter(channels),
        conv2: filter(outChannels),
        gamma1: { ...random.normals([channels], 1, 0.2), constant: outer.length === 0 },
        beta1: { ...random.normals([channels], 0, 0.3), constant: outer.length === 0 },
        gamma2: random.normals([outChannels], 1, 0.2),
        beta2: random.normals([outChannels], 0, 0.3),
      },
      run: (tensors) => {
        const norm = (gamma: Tensor, beta: Tensor) =>
          Object.assign(new ReferenceKalmanNorm2d(device, gamma.size, { splits, gain, relu: true }), { gamma, beta });
        const block = new ReferenceKalmanBlock(device, {
          inChannels: channels,
          widens,
          first,
          norm1: first ? null : norm(tensors.gamma1, tensors.beta1),
          norm2: norm(tensors.gamma2, tensors.beta2),
          random: new HostRandom(0),
          beliefPadding: 'aligned',
          transition: 'analytic',
        });
        Object.assign(block.conv1, { weight: tensors.conv1 });
        Object.assign(block.conv2, { weight: tensors.conv2 });
        const result = block.forward(tensors.x, new Belief(tensors.mean, tensors.variance, splits), () => null);
        return [result.x, result.prior!.mean, result.prior!.variance];
      },
      reference: (arrays, hold) => {
        const { x, prior } = analyticBlock(
          {
            ...arrays,
            prior: { mean: arrays.mean, variance: arrays.variance },
            norm1: { gamma: arrays.gamma1, beta: arrays.beta1 },
            norm2: { gamma: arrays.gamma2, beta: arrays.beta2 },
            first,
            splits,
            gain,
            widens,
            aligned: true,
          },
          hold,
        );
        return [x, prior.mean, prior.variance];
      },
      tolerance: tolerance.block,
    }));
  });
}

const [BATCH, SPLITS, SIDE] = [8, 4, 8];

function network(device: Device, transition: 'analytic' | 'sampled' = 'analytic') {
  const random = new TestRandom('network', 1);
  const norm = { type: 'reference-kalman', splits: SPLITS, gain: 0.1, transition } as const;
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
    step();
    if (recorded) {
      const { program } = device.record(step);
      program.run(19);
      await device.synchronize();
      program.dispose();
    } else {
      for (let i = 0; i < 19; i++) step();
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
