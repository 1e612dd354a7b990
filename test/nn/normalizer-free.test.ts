import test from 'ava';
import {
  buildModel,
  CifarResNet,
  HostRandom,
  NormalizerFreeBlock,
  ResNet,
  reluGain,
  ScaledAffine2d,
  type Tensor,
} from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { add, avgPool2d, conv2d, padChannels, samePadding } from '../support/reference.js';
import { scaledAffine, weightStandardize } from '../support/reference-rivals.js';

for (const { shape, factor } of [
  { shape: [3, 5, 4, 3], factor: 1 },
  { shape: [2, 16, 3, 3], factor: 0.2 },
  { shape: [4, 12, 2, 5], factor: 30 },
]) {
  for (const relu of [false, true]) {
    const channels = shape[1]!;
    eachDevice(test, `ScaledAffine2d: [${shape}], ${factor}${relu ? ', ReLU' : ''}`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals(shape, 0.5, 1.5),
          gamma: random.normals([channels], 1, 0.3),
          beta: random.normals([channels]),
        },
        run: ({ x, ...own }) => [Object.assign(new ScaledAffine2d(device, channels, { factor, relu }), own).forward(x)],
        reference: ({ x, ...own }) => [scaledAffine(x, { ...own, factor, relu })],
        tolerance: tolerance.normalization,
        gradientTolerance: 4 * tolerance.normalization,
      }));
      await checkOp(t, device, random, () => ({
        inputs: { x: random.normals(shape, 0.5, 1.5) },
        run: ({ x }) => [new ScaledAffine2d(device, channels, { factor, relu, affine: false }).forward(x)],
        reference: ({ x }) => [scaledAffine(x, { factor, relu })],
        tolerance: tolerance.elementwise,
      }));
    });
  }
}

for (const widens of [false, true]) {
  eachDevice(
    test,
    `NormalizerFreeBlock${widens ? ', widening' : ''}: as the paper has it`,
    async (t, device, random) => {
      const [inChannels, variance, alpha] = [8, 1.7, 0.3];
      const outChannels = widens ? 16 : 8;
      const given = { inChannels, widens, variance, alpha, random: new HostRandom(1), weightStandardization: reluGain };
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals([2, inChannels, 6, 6]),
          weight1: { ...random.normals([outChannels, inChannels, 3, 3], 0.1, 0.3), format: 'filter' },
          gain1: random.normals([outChannels], 1, 0.2),
          bias1: random.normals([outChannels], 0, 0.3),
          weight2: { ...random.normals([outChannels, outChannels, 3, 3], 0.1, 0.3), format: 'filter' },
          gain2: random.normals([outChannels], 1, 0.2),
          bias2: random.normals([outChannels], 0, 0.3),
        },
        run: ({ x, weight1, gain1, bias1, weight2, gain2, bias2 }) => {
          const block = new NormalizerFreeBlock(device, given);
          Object.assign(block.conv1, { weight: weight1 });
          Object.assign(block.conv2, { weight: weight2 });
          Object.assign(block.norm2, { gamma: gain1, beta: bias1 });
          Object.assign(block.norm3, { gamma: gain2, beta: bias2 });
          return [block.forward(x)];
        },
        reference: ({ x, weight1, gain1, bias1, weight2, gain2, bias2 }) => {
          const standard = (w: typeof weight1) => weightStandardize(w, { epsilon: 1e-5, gain: reluGain });
          const stride = widens ? 2 : 1;
          const start = scaledAffine(x, { factor: variance ** -0.5, relu: true });
          const first = conv2d(start, standard(weight1), [stride, stride], samePadding(6, 6, 3, stride));
          const middle = scaledAffine(first, { gamma: gain1, beta: bias1, factor: 1, relu: true });
          const size = 6 / stride;
          const second = conv2d(middle, standard(weight2), [1, 1], samePadding(size, size, 3, 1));
          const branch = scaledAffine(second, { gamma: gain2, beta: bias2, factor: alpha });
          const pooled = () => padChannels(avgPool2d(x, 2), inChannels / 2, inChannels / 2);
          const shortcut = widens ? scaledAffine(pooled(), { factor: Math.sqrt(2 / variance) }) : x;
          return [add(shortcut, branch)];
        },
        tolerance: tolerance.block,
        gradientTolerance: 4 * tolerance.block,
      }));
    },
  );
}

eachDevice(test, 'normalizer-free: what is expected of the variance is what it is', async (t, device, random) => {
  using net = new CifarResNet(device, {
    n: 3,
    norm: { type: 'normalizer-free', alpha: 0.5 },
    seed: random.below(1000),
  });
  t.is(net.conv0.weightStandardization, reluGain);
  const blocks = [...net.stage1, ...net.stage2, ...net.stage3] as NormalizerFreeBlock[];
  const expected = blocks.map(({ norm1 }) => norm1.factor ** -2);
  for (const [i, value] of [1, 1.25, 1.5, 1.75, 1.25, 1.5, 1.75, 1.25, 1.5].entries()) {
    t.true(Math.abs(expected[i]! - value) < 1e-9, `block ${i}`);
  }
  // Of the branches; a shortcut's variance depends on the images.
  const spread = async (x: Tensor) => {
    const values = [...(await x.data())];
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    return values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  };
  using x = device.tensor(Float32Array.from(random.normals([16, 16, 12, 12]).data), [16, 16, 12, 12]);
  const [first] = blocks as [NormalizerFreeBlock];
  using branch = first.norm3.forward(
    first.conv2.forward(first.norm2.forward(first.conv1.forward(first.norm1.forward(x)))),
  );
  // Zeros at the borders lower it.
  const measured = await spread(branch);
  t.true(measured > 0.15 && measured < 0.3, `${measured}`);
});

eachDevice(
  test,
  'normalizer-free: the same in training and inference, and anew from specs',
  async (t, device, random) => {
    const values = Float32Array.from(random.normals([2, 3, 16, 16]).data);
    using x = device.tensor(values, [2, 3, 16, 16]);
    using net = new CifarResNet(device, { n: 2, norm: { type: 'normalizer-free' }, classes: 3, seed: 1 });
    t.is(net.namedBuffers().size, 0);
    using trained = net.forward(x);
    using inferred = net.eval().forward(x);
    t.is(bits(await inferred.data()), bits(await trained.data()));
    using copy = buildModel(device, net.spec()!) as CifarResNet;
    t.deepEqual(copy.spec(), net.spec());
    copy.loadStateDict(await net.stateValues());
    using again = copy.forward(x);
    closeTo(t, await again.data(), await trained.data(), 0, 'logits of the copy');
    using layer = new ScaledAffine2d(device, 4, { factor: 0.5, affine: false, relu: true });
    using other = buildModel(device, layer.spec());
    t.deepEqual(other.spec(), layer.spec());
  },
);

eachDevice(test, 'normalizer-free: wrong options and samples are typed errors', (t, device) => {
  const block = { inChannels: 4, widens: false, random: new HostRandom(1) };
  for (const [make, message] of [
    [() => new ScaledAffine2d(device, 0), /channels must be a whole number of at least 1, got 0/],
    [() => new ScaledAffine2d(device, 4, { factor: 0 }), /factor must be between 1e-9 and 1e9, got 0/],
    [() => new ScaledAffine2d(device, 4, { factor: Number.NaN }), /factor/],
    [() => buildModel(device, { type: 'ScaledAffine2d', channels: 4, factor: -1 }), /factor/],
    [() => new NormalizerFreeBlock(device, { ...block, variance: 0 }), /variance must be a positive number, got 0/],
    [() => new NormalizerFreeBlock(device, { ...block, variance: 1, alpha: -1 }), /alpha must be a positive number/],
    [() => new ResNet(device, { depth: 18, norm: { type: 'normalizer-free' } }), /another type than normalizer-free/],
  ] as const) {
    t.throws(make, { code: 'INVALID_ARGUMENT', message });
  }
  using layer = new ScaledAffine2d(device, 4);
  t.throws(() => layer.forward(device.ones([2, 8, 3, 3])), {
    code: 'SHAPE_MISMATCH',
    message: 'ScaledAffine2d: x must have shape [N, 4, H, W], got [2, 8, 3, 3]',
  });
});
