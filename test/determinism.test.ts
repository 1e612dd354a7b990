import test from 'ava';
import {
  avgPool2d,
  Belief,
  backward,
  batchNorm,
  CifarResNet,
  crossEntropy,
  type Device,
  DeviceRandom,
  globalAvgPool,
  groupNorm,
  kalmanNorm,
  moments,
  normalize,
  openDevice,
  padChannels,
  Sgd,
  samplePrior,
  scale,
  scope,
  type Tensor,
} from '../lib/index.js';
import { bits } from './support/compare.js';
import { eachDevice, seeded } from './support/devices.js';
import { TestRandom } from './support/random.js';

/** Loss of every step and final state of a small training, as bits. */
async function train(device: Device, seed: number): Promise<Record<string, string>> {
  const model = new CifarResNet(device, { n: 1, norm: { type: 'reference-kalman', splits: 4, gain: 0.1 }, seed });
  const optimizer = new Sgd(device, model.namedParameters(), 0.05, { weightDecay: 2e-4 });
  const noise = new DeviceRandom(device, seed);
  const random = new TestRandom('training data', seed);
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const images = random.normals([8, 3, 16, 16]);
    const labels = Int32Array.from({ length: 8 }, () => random.below(10));
    const loss = scope(() => {
      const logits = model.forward(device.tensor(Float32Array.from(images.data), images.shape), noise);
      const { loss } = crossEntropy(logits, device.tensor(labels));
      model.zeroGrad();
      backward(loss);
      optimizer.step();
      noise.advance();
      return loss;
    });
    losses.push(await loss.item());
  }
  const state = await model.stateValues();
  model.dispose();
  optimizer.dispose();
  const entries = [...state].map(([name, { data }]) => [name, bits(data)] as const);
  return { losses: bits(losses), ...Object.fromEntries(entries) };
}

eachDevice(test, 'two trainings with one seed give the same bits; another seed others', async (t, device) => {
  const first = await train(device, 7);
  t.deepEqual(await train(device, 7), first);
  t.not((await train(device, 8)).losses, first.losses);
});

test('two devices at once do not disturb each other', async (t) => {
  using a = openDevice('cpu', { threads: 2 });
  using b = openDevice('cpu', { threads: 2 });
  const [first, second] = await Promise.all([train(a, 5), train(b, 5)]);
  t.deepEqual(first, second);
});

/** What an op is given: values, and a way to make them tensors that collect gradients. */
interface Given {
  device: Device;
  /** Normal values, each time the same for each place and shape. */
  normal(shape: readonly number[], options?: { positive?: boolean; constant?: boolean }): Tensor;
}

/** Shapes: many short splits, few long ones, a single long one that is cut into runs, odd numbers of channels. */
const shapes: { shape: readonly [number, number, number, number]; splits: number }[] = [
  { shape: [64, 16, 9, 9], splits: 32 },
  { shape: [48, 12, 17, 13], splits: 2 },
  { shape: [96, 24, 16, 16], splits: 1 },
  { shape: [6, 5, 65, 63], splits: 1 },
];

const ops: Record<string, (given: Given, shape: readonly number[], splits: number) => Tensor[]> = {
  moments({ normal }, shape, splits) {
    const { mean, variance } = moments(normal(shape), splits);
    return [mean, variance];
  },
  batchNorm({ normal }, shape, splits) {
    const affine = { gamma: normal([shape[1]!]), beta: normal([shape[1]!]) };
    return [batchNorm(normal(shape), affine, { splits, relu: true }).output];
  },
  normalize({ normal }, shape) {
    const channels = [shape[1]!];
    const statistics = { mean: normal(channels, { constant: true }), variance: normal(channels, { positive: true }) };
    return [normalize(normal(shape), statistics, { gamma: normal(channels), beta: normal(channels) }, { relu: true })];
  },
  groupNorm({ normal }, shape) {
    const affine = { gamma: normal([shape[1]!]), beta: normal([shape[1]!]) };
    return [groupNorm(normal(shape), shape[1]! % 4 ? 1 : 4, affine, { relu: true })];
  },
  kalmanNorm({ device, normal }, shape, splits) {
    const channels = shape[1]!;
    const prior = new Belief(normal([splits * channels]), normal([splits * channels], { positive: true }), splits);
    const affine = { gamma: normal([channels]), beta: normal([channels]) };
    const sample = new DeviceRandom(device, 3);
    const { output, posterior } = kalmanNorm(normal(shape), prior, affine, { splits, gain: 0.2, relu: true, sample });
    return [output, posterior.mean, posterior.variance];
  },
  'kalmanNorm, carried'({ normal }, [batch, ...rest], splits) {
    const affine = { gamma: normal([rest[0]!]), beta: normal([rest[0]!]) };
    const x = normal([batch! + splits, ...rest]);
    const { output, posterior } = kalmanNorm(x, 'carried', affine, { splits, gain: normal([rest[0]!]), relu: true });
    return [output, posterior.mean, posterior.variance];
  },
  samplePrior({ device, normal }, [, channels, height, width], splits) {
    const cells = [splits * channels!];
    const belief = new Belief(normal(cells), normal(cells, { positive: true }), splits);
    return [samplePrior(belief, { height: height!, width: width! }, new DeviceRandom(device, 4))];
  },
  'pooling and padding'({ normal }, shape) {
    const x = normal(shape);
    return [avgPool2d(x, 2), globalAvgPool(x), padChannels(x, 8, 3)];
  },
  'loss and Sgd'({ device, normal }, [batch]) {
    const weight = normal([batch!, 1000]);
    const { loss, errors } = crossEntropy(weight, device.tensor(Int32Array.from({ length: batch! }, (_, i) => 7 * i)));
    backward(loss);
    const optimizer = new Sgd(device, new Map([['weight', weight]]), 0.1, { weightDecay: 0.01 });
    optimizer.step();
    return [loss, errors, weight.detach()].map((tensor) => tensor.detach());
  },
};

/** All outputs and gradients of an op, as bits. */
async function run(device: Device, name: string, random: TestRandom, index: number): Promise<string[]> {
  const { shape, splits } = shapes[index]!;
  const leaves: Tensor[] = [];
  const outputs = ops[name]!(
    {
      device,
      normal(size, { positive = false, constant = positive } = {}) {
        const { data } = random.normals(size);
        const values = Float32Array.from(data, (value) => (positive ? 0.5 + Math.abs(value) : value));
        const leaf = device.tensor(values, size, { requiresGrad: !constant });
        leaves.push(leaf);
        return leaf;
      },
    },
    shape,
    splits,
  );
  const live = outputs.filter((output) => output.node);
  // Gradients that aren't constant: the outputs themselves, off the tape.
  if (live.length > 0) {
    const seeds = live.map((output) => scale(output.detach(), 0.5));
    backward(live, seeds);
  }
  const gradients = leaves.flatMap((leaf) => (leaf.grad ? [leaf.grad] : []));
  return Promise.all([...outputs, ...gradients].map(async (tensor) => bits(await tensor.data())));
}

for (const name of Object.keys(ops)) {
  test(`${name}: the same bits with 1 thread and with 2, forward and backward`, async (t) => {
    using one = openDevice('cpu', { threads: 1 });
    using two = openDevice('cpu', { threads: 2 });
    for (const index of shapes.keys()) {
      const title = `${name} ${index}`;
      await seeded(t, title, async (random) => {
        const expected = await run(one, name, random, index);
        const actual = await run(two, name, new TestRandom(title), index);
        t.true(expected.length > 0);
        t.is(actual.length, expected.length);
        for (const [i, value] of actual.entries()) t.true(value === expected[i], `shape ${index}, result ${i}`);
      });
    }
  });
}
