import test from 'ava';
import {
  AdaptiveAvgPool2d,
  AvgPool2d,
  BatchNorm2d,
  Belief,
  buildModel,
  CifarResNet,
  Concat,
  Conv2d,
  type Device,
  Dropout,
  Flatten,
  filterRows,
  GlobalAvgPool2d,
  Identity,
  KalmanNorm2d,
  Layer,
  LeakyReLU,
  Linear,
  MaxPool2d,
  openDevice,
  ReLU,
  Residual,
  Sequential,
  scale,
  type Tensor,
  Unknown,
} from '../../lib/index.js';
import { map, type NdArray, ndarray, vector } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';
import { adaptiveKalmanNorm } from '../support/reference-adaptive.js';
import { at, build } from '../support/reference-arrays.js';
import type { Hold } from '../support/reference-kalman.js';
import { addBeliefs, padBelief } from '../support/reference-kalman.js';
import { propagate, rectified } from '../support/reference-transition.js';

type Statistics = plain.Statistics;

function rectify({ mean, variance }: Statistics): Statistics {
  const each = [...mean.data].map((m, i) => rectified(m, variance.data[i]!));
  return { mean: vector(each.map((r) => r.mean)), variance: vector(each.map((r) => r.variance)) };
}

const averaged = (belief: Statistics, count: number) => ({
  mean: belief.mean,
  variance: map(belief.variance, (value) => value / count),
});

/** Moments of f(x) for a Gaussian x, by Simpson's rule on either side of the kink at 0. */
function momentsOf(mean: number, variance: number, f: (x: number) => number) {
  const std = Math.sqrt(variance);
  const sums = [0, 0, 0];
  for (const [from, to] of [
    [mean - 10 * std, 0],
    [0, mean + 10 * std],
  ] as const) {
    const count = 2000;
    const step = (to - from) / count;
    for (let i = 0; step > 0 && i <= count; i++) {
      const x = from + i * step;
      const part = (i % count ? (i % 2 ? 4 : 2) : 1) / 3;
      const weight = (part * step * Math.exp((-0.5 * (x - mean) ** 2) / variance)) / (std * Math.sqrt(2 * Math.PI));
      for (const power of [0, 1, 2]) sums[power]! += weight * f(x) ** power;
    }
  }
  return { mean: sums[1]!, variance: sums[2]! - sums[1]! ** 2 };
}

const each = (belief: Statistics, body: (mean: number, variance: number) => { mean: number; variance: number }) => {
  const moments = [...belief.mean.data].map((m, i) => body(m, belief.variance.data[i]!));
  return { mean: vector(moments.map((m) => m.mean)), variance: vector(moments.map((m) => m.variance)) };
};

/** Layers that know what they make of a belief of 6 channels, with the float64 oracle. */
const transitions: Record<
  string,
  { make: (device: Device) => Layer; expected: (belief: Statistics) => Statistics; flat?: boolean }
> = {
  ReLU: { make: () => new ReLU(), expected: rectify },
  'average pooling': { make: () => new AvgPool2d(2), expected: (belief) => averaged(belief, 4) },
  'average pooling behind ReLU': {
    make: () => new Sequential(new ReLU(), new AvgPool2d(2)),
    expected: (belief) => averaged(rectify(belief), 4),
  },
  'global average pooling': { make: () => new GlobalAvgPool2d(), expected: (belief) => averaged(belief, 24) },
  'leaky ReLU': {
    make: () => new LeakyReLU(0.2),
    expected: (belief) => each(belief, (m, v) => momentsOf(m, v, (x) => (x > 0 ? x : 0.2 * x))),
  },
  'leaky ReLU behind ReLU': { make: () => new Sequential(new ReLU(), new LeakyReLU(0.2)), expected: rectify },
  'dropout behind ReLU': {
    make: (device) => new Sequential(new ReLU(), new Dropout(device, 0.25)),
    expected: (belief) => each(rectify(belief), (mean, v) => ({ mean, variance: v + (mean ** 2 + v) / 3 })),
  },
  'dropout in inference': { make: (device) => new Dropout(device, 0.25).eval(), expected: (belief) => belief },
  identity: { make: () => new Identity(), expected: (belief) => belief },
  // The moments of the largest of 4 and of 9 normal values, from tables of order statistics.
  'max pooling': {
    make: () => new MaxPool2d(2),
    expected: (belief) =>
      each(belief, (m, v) => ({ mean: m + 1.029375373 * Math.sqrt(v), variance: 0.4917152369 * v })),
  },
  'max pooling behind ReLU': {
    make: () => new Sequential(new ReLU(), new MaxPool2d(3, { stride: 1, padding: 1 })),
    expected: (belief) =>
      rectify(each(belief, (m, v) => ({ mean: m + 1.4850131622 * Math.sqrt(v), variance: 0.3573533264 * v }))),
  },
  'adaptive pooling': { make: () => new AdaptiveAvgPool2d(), expected: (belief) => averaged(belief, 24) },
  'residual sum behind ReLU': {
    make: () => new Residual(new ReLU(), new ReLU()),
    expected: (belief) => addBeliefs(rectify(belief), rectify(belief)),
  },
  'residual sum with the samples themselves': {
    make: () => new Residual(new ReLU()),
    expected: (belief) => addBeliefs(belief, rectify(belief)),
  },
};

for (const [name, { make, expected }] of Object.entries(transitions)) {
  eachDevice(test, `transition: ${name}`, async (t, device, random) => {
    const layer = make(device);
    await checkOp(t, device, random, () => ({
      inputs: { mean: random.normals([6]), variance: random.uniforms([6], 0.2, 2) },
      run: ({ mean, variance }) => {
        const { belief } = layer.filter({ x: device.zeros([2, 6, 4, 6]), belief: new Belief(mean, variance, 1) });
        // What is rectified is told by its note: a pool of one value reads it.
        const seen = belief!.rectified
          ? new AvgPool2d(1).filter({ x: device.zeros([2, 6, 4, 6]), belief }).belief!
          : belief!;
        // Moments that are handed on would be the leaves themselves.
        return [scale(seen.mean, 1), scale(seen.variance, 1)];
      },
      reference: (belief) => {
        const { mean, variance } = expected(belief);
        return [mean, variance];
      },
      tolerance: tolerance.sum(4),
    }));
  });
}

eachDevice(test, 'transition: linear', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: {
      mean: random.normals([5]),
      variance: random.uniforms([5], 0.2, 2),
      weight: random.normals([5, 7]),
      bias: random.normals([7]),
    },
    run: ({ mean, variance, weight, bias }) => {
      const layer = Object.assign(new Linear(device, 5, 7), { weight, bias });
      const { belief } = layer.filter({ x: device.zeros([3, 5]), belief: new Belief(mean, variance, 1, true) });
      return [belief!.mean, belief!.variance];
    },
    reference: ({ mean, variance, weight, bias }) => {
      const moments = rectify({ mean, variance });
      const row = ({ data }: NdArray) => ndarray([1, 5], data);
      const through = plain.linear(row(moments.mean), weight, bias);
      const squares = plain.linear(
        row(moments.variance),
        map(weight, (w) => w * w),
        null,
      );
      return [vector(through.data), vector(squares.data)];
    },
    tolerance: tolerance.sum(5),
  }));
});

/** The filter over all channels, without dilation, that one with groups and dilation stands for. */
function written(weight: NdArray, groups: number, [down, across]: readonly [number, number]): NdArray {
  const [out, inGroup, height, width] = weight.shape as [number, number, number, number];
  const shape = [out, inGroup * groups, (height - 1) * down + 1, (width - 1) * across + 1];
  return build(shape, ([o, i, y, x]) => {
    const own = i! - Math.floor((o! * groups) / out) * inGroup;
    if (own < 0 || own >= inGroup || y! % down || x! % across) return 0;
    return at(weight, [o!, own, y! / down, x! / across]);
  });
}

for (const { title, groups, dilation } of [
  { title: 'bias', groups: 1, dilation: [1, 1] },
  { title: 'dilation and bias', groups: 1, dilation: [2, 1] },
  { title: 'groups and bias', groups: 2, dilation: [1, 1] },
  { title: 'depthwise, dilation and bias', groups: 4, dilation: [1, 2] },
] as const) {
  eachDevice(test, `transition: convolution with ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        mean: random.normals([4]),
        variance: random.uniforms([4], 0.2, 2),
        weight: { ...random.normals([8, 4 / groups, 3, 3]), format: 'filter' as const },
        bias: random.normals([8]),
      },
      run: ({ mean, variance, weight, bias }) => {
        const layer = new Conv2d(device, 4, 8, 3, { padding: 1, bias: true, groups, dilation });
        const { belief } = Object.assign(layer, { weight, bias }).filter({
          x: device.zeros([2, 4, 5, 6]),
          belief: new Belief(mean, variance, 1, true),
        });
        return [belief!.mean, belief!.variance];
      },
      reference: ({ mean, variance, weight, bias }) => {
        const geometry = { splits: 1, height: 5, width: 6, stride: [1, 1], sides: [1, 1, 1, 1] } as const;
        const prior = propagate({ mean, variance }, written(weight, groups, dilation), geometry);
        return [plain.add(prior.mean, bias), prior.variance];
      },
      tolerance: tolerance.sum(36),
    }));
  });
}

eachDevice(test, 'Conv2d: with bias, dilation and groups, through its spec', async (t, device, random) => {
  const options = { padding: 2, dilation: 2, groups: 3, bias: true } as const;
  using layer = new Conv2d(device, 6, 9, 3, options);
  t.deepEqual(layer.weight.shape, [9, 2, 3, 3]);
  const [x, bias] = [random.normals([2, 6, 5, 4]), random.normals([9])];
  layer.loadStateDict(
    new Map(await layer.stateValues()).set('bias', {
      shape: [9],

      data: Float32Array.from(bias.data),
    }),
  );
  using copy = buildModel(device, layer.spec()) as Conv2d;
  copy.loadStateDict(await layer.stateValues());
  const weight = { shape: layer.weight.shape, data: Float64Array.from(await layer.weight.data()) };
  const sides = [2, 2, 2, 2] as const;
  const y = plain.conv2d(x, weight, [1, 1], sides, { dilation: [2, 2], groups: 3 });
  const expected = build(y.shape, (index) => at(y, index) + bias.data[index[1]!]!);
  const input = device.tensor(Float32Array.from(x.data), x.shape);
  for (const conv of [layer, copy]) {
    closeTo(t, await conv.forward(input).data(), expected.data, tolerance.sum(18), 'output');
  }
  t.throws(() => new Conv2d(device, 6, 9, 3, { groups: 2 }), { code: 'INVALID_ARGUMENT', message: /divide/ });
  const spec = { ...layer.spec(), groups: 2 };
  t.throws(() => buildModel(device, spec), { code: 'INVALID_ARGUMENT', message: /groups/ });
});

eachDevice(test, 'transition: concatenation of branches, with and without a rectified one', async (t, device) => {
  const belief = new Belief(device.tensor([1, -2, 3, -4]), device.tensor([5, 6, 7, 8]), 2);
  const x = device.tensor([1, -1, 2, -2], [2, 2, 1, 1]);
  const copies = new Concat(new Identity(), new Sequential(new Identity()));
  const same = copies.filter({ x, belief });
  t.deepEqual([...(await same.x.data())], [1, -1, 1, -1, 2, -2, 2, -2]);
  t.deepEqual([...(await same.belief!.mean.data())], [1, -2, 1, -2, 3, -4, 3, -4]);
  t.deepEqual([...(await same.belief!.variance.data())], [5, 6, 5, 6, 7, 8, 7, 8]);
  const mixed = new Concat(new Identity(), new ReLU());
  const { belief: both } = mixed.filter({ x, belief });
  const { mean, variance } = rectify({ mean: vector([1, -2, 3, -4]), variance: vector([5, 6, 7, 8]) });
  const expected = (a: readonly number[], b: ArrayLike<number>) => [
    a[0]!,
    a[1]!,
    b[0]!,
    b[1]!,
    a[2]!,
    a[3]!,
    b[2]!,
    b[3]!,
  ];
  closeTo(t, await both!.mean.data(), expected([1, -2, 3, -4], mean.data), tolerance.elementwise, 'mean');
  closeTo(t, await both!.variance.data(), expected([5, 6, 7, 8], variance.data), tolerance.elementwise, 'variance');
  t.false(both!.rectified);
  t.is(new Concat(new Identity(), new Unknown(new ReLU())).filter({ x, belief }).belief, null);
  const copy = buildModel(device, mixed.spec()!);
  t.deepEqual(copy.spec(), mixed.spec());
  t.deepEqual([...(await mixed.forward(x).data())], [1, -1, 1, 0, 2, -2, 2, 0]);
  t.throws(() => new Concat(), { code: 'INVALID_ARGUMENT' });
});

eachDevice(test, 'transition: flatten repeats a channel for each of its pixels', async (t, device) => {
  const belief = new Belief(device.tensor([1, 2, 3, 4]), device.tensor([5, 6, 7, 8]), 2, true);
  const { belief: flat } = new Flatten().filter({ x: device.zeros([2, 2, 3, 1]), belief });
  t.deepEqual([...(await flat!.mean.data())], [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
  t.deepEqual([...(await flat!.variance.data())], [5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]);
  t.true(flat!.rectified && flat!.splits === 2 && flat!.channels === 6);
});

interface Weights<T> {
  conv1: T;
  conv2: T;
  gamma1: T;
  beta1: T;
  gamma2: T;
  beta2: T;
}

const OPTIONS = { splits: 4, relu: true } as const;

/** norm, conv, norm, conv with a residual sum around them. */
function kalmanNetwork(device: Device, own: Weights<Tensor>): Sequential {
  const conv = (weight: Tensor) => Object.assign(new Conv2d(device, 4, 4, 3, { padding: 'same' }), { weight });
  const norm = (gamma: Tensor, beta: Tensor) => Object.assign(new KalmanNorm2d(device, 4, OPTIONS), { gamma, beta });
  return new Sequential(
    conv(own.conv1),
    norm(own.gamma1, own.beta1),
    new Residual(new Sequential(conv(own.conv2), norm(own.gamma2, own.beta2))),
    new AvgPool2d(2),
  );
}

function referenceNetwork(x: NdArray, own: Weights<NdArray>, hold: Hold) {
  const sides = plain.samePadding(5, 5, 3, 1);
  const norm = (input: NdArray, prior: Statistics | null, gamma: NdArray, beta: NdArray) =>
    adaptiveKalmanNorm(
      input,
      {
        ...OPTIONS,
        gamma,
        beta,
        prior,
        state: ndarray([filterRows.length, 4]),
        running: { mean: ndarray([4]), variance: ndarray([4], [1, 1, 1, 1]) },
        gain: 'adaptive',
        correction: 0.1,
        adaptation: 0.1,
        gate: 4,
        momentum: 0.1,
        observationGradient: 0.5,
      },
      hold,
    );
  const normalized = (gamma: NdArray, beta: NdArray) => ({ mean: beta, variance: map(gamma, (g) => g * g) });
  const start = norm(plain.conv2d(x, own.conv1, [1, 1], sides), null, own.gamma1, own.beta1);
  const geometry = { splits: 1, height: 5, width: 5, stride: [1, 1], sides } as const;
  const prior = propagate(normalized(own.gamma1, own.beta1), own.conv2, geometry);
  const inner = norm(plain.conv2d(start.output, own.conv2, [1, 1], sides), prior, own.gamma2, own.beta2);
  const belief = addBeliefs(rectify(normalized(own.gamma1, own.beta1)), rectify(normalized(own.gamma2, own.beta2)));
  return { x: plain.avgPool2d(plain.add(start.output, inner.output), 2), belief: averaged(belief, 4) };
}

eachDevice(test, 'Sequential: beliefs reach the norms within', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: {
      x: random.normals([8, 4, 5, 5]),
      conv1: { ...random.normals([4, 4, 3, 3], 0, 0.2), format: 'filter' as const },
      conv2: { ...random.normals([4, 4, 3, 3], 0, 0.2), format: 'filter' as const },
      gamma1: random.normals([4], 1, 0.3),
      beta1: random.normals([4], 0, 0.5),
      gamma2: random.normals([4], 1, 0.3),
      beta2: random.normals([4], 0, 0.5),
    },
    run: ({ x, ...own }) => {
      const result = kalmanNetwork(device, own).filter({ x, belief: null });
      return [result.x, result.belief!.mean, result.belief!.variance];
    },
    reference: ({ x, ...own }, hold) => {
      const result = referenceNetwork(x, own, hold);
      return [result.x, result.belief.mean, result.belief.variance];
    },
    tolerance: tolerance.block,
  }));
});

/** A layer of a user, of which nothing is known. */
class Half extends Layer {
  override forward(x: Tensor): Tensor {
    return new AvgPool2d(1).forward(x);
  }
}

eachDevice(
  test,
  'Sequential: a layer without a transition is named, and can be declared unknown',
  async (t, device) => {
    const norm = () => new KalmanNorm2d(device, 3, { splits: 2 });
    const x = device.zeros([4, 3, 4, 4]);
    const net = new Sequential(norm(), new Half(), norm());
    const before = bits(await (net.layers[0] as KalmanNorm2d).filterState.data());
    t.throws(
      () =>
        new Sequential(new Half(), new Half()).filter({
          x,
          belief: new Belief(device.zeros([3]), device.ones([3]), 1),
        }),
      {
        message: /^Half doesn't know what it makes of a belief.*new Unknown\(new Half\(/,
      },
    );
    t.throws(() => net.forward(x), { code: 'INVALID_ARGUMENT' } as object);
    t.is(before, bits(await (net.layers[2] as KalmanNorm2d).filterState.data()));
    net.eval();
    t.notThrows(() => net.forward(x), 'inference believes nothing');
  },
);

test('Sequential: a Kalman normalization without a prior says so once', async (t) => {
  using device = openDevice('cpu');
  const norm = () => new KalmanNorm2d(device, 3, { splits: 2 });
  const x = device.zeros([4, 3, 4, 4]);

  const warnings: Error[] = [];
  const listen = (warning: Error) => {
    if (warning.name === 'KalmanNormWarning') warnings.push(warning);
  };
  process.on('warning', listen);
  const open = new Sequential(norm(), new Unknown(new Half()), norm(), new Half(), new GlobalAvgPool2d());
  for (let i = 0; i < 3; i++) open.forward(x);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', listen);
  const own = warnings.filter(({ message }) => message.includes('layer 2 (KalmanNorm2d)'));
  t.is(own.length, 1, 'said once, in three steps');
});

eachDevice(test, 'Layer.filter: a belief of other channels is refused', (t, device) => {
  const belief = () => new Belief(device.zeros([5]), device.ones([5]), 1);
  const x = device.zeros([2, 3, 4, 4]);
  t.throws(() => new Conv2d(device, 3, 4, 3).filter({ x, belief: belief() }), { code: 'SHAPE_MISMATCH' } as object);
  t.throws(() => new Linear(device, 3, 4).filter({ x: device.zeros([2, 3]), belief: belief() }), {
    message: /the belief must have the layer's 3 features, got 5 channels/,
  });
  t.throws(() => new KalmanNorm2d(device, 3).filter({ x, belief: belief() }), { code: 'SHAPE_MISMATCH' } as object);
  t.throws(() => new BatchNorm2d(device, 3, { affine: false }).filter({ x, belief: belief() }), {
    message: /beliefs need affine: true/,
  });
  t.throws(() => new Residual(3 as never), { message: /Residual: body must be a layer, got 3/ });
});

eachDevice(test, 'a network of public blocks survives its spec', async (t, device, random) => {
  const block = () =>
    new Sequential(new KalmanNorm2d(device, 4, OPTIONS), new Conv2d(device, 4, 4, 3, { padding: 'same' }));
  const net = new Sequential(
    new Conv2d(device, 3, 4, 3, { padding: 'same' }),
    new Residual(block()),
    new Residual(block(), new Unknown(new ReLU())),
    new KalmanNorm2d(device, 4, OPTIONS),
    new GlobalAvgPool2d(),
    new Linear(device, 4, 2),
  );
  const copy = buildModel(device, net.spec()!) as Sequential;
  copy.loadStateDict(await net.stateValues());
  t.deepEqual(copy.spec(), net.spec());
  const x = random.normals([8, 3, 6, 6]);
  const images = device.tensor(Float32Array.from(x.data), x.shape);
  t.is(bits(await copy.forward(images).data()), bits(await net.forward(images).data()));
});

eachDevice(
  test,
  'CifarResNet, corrected filter: its first blocks against the oracle of the parts',
  async (t, device, random) => {
    // One widening block behind a stem, by hand in float64.
    const net = new CifarResNet(device, { n: 1, norm: { type: 'kalman', splits: 4 }, seed: 5 });
    const block = net.stage2[0]!;
    const x = random.normals([8, 16, 6, 6]);
    const prior = { mean: random.normals([16], 0, 0.3), variance: random.uniforms([16], 0.5, 1.5) };
    const state = (await Promise.all(
      [...block.stateDict()].map(async ([name, tensor]) => [name, ndarray(tensor.shape, await tensor.data())] as const),
    )) as [string, NdArray][];
    const at = Object.fromEntries(state);
    const upload = (a: NdArray) => device.tensor(Float32Array.from(a.data), a.shape);
    const belief = new Belief(upload(prior.mean), upload(prior.variance), 1);
    const result = (block as unknown as Layer).filter({ x: upload(x), belief });

    const norm = (input: NdArray, name: string, given: Statistics, channels: number) =>
      adaptiveKalmanNorm(
        input,
        {
          splits: 4,
          relu: true,
          gamma: at[`${name}.gamma`]!,
          beta: at[`${name}.beta`]!,
          prior: given,
          state: ndarray([filterRows.length, channels]),
          running: { mean: ndarray([channels]), variance: ndarray([channels], new Float64Array(channels).fill(1)) },
          gain: 'adaptive',
          correction: 0.1,
          adaptation: 0.1,
          gate: 4,
          momentum: 0.1,
          observationGradient: 0.5,
        },
        (value) => value,
      );
    const standard = (channels: number) => ({
      mean: ndarray([channels]),
      variance: ndarray([channels], new Float64Array(channels).fill(1)),
    });
    const [first, second] = [plain.samePadding(6, 6, 3, 2), plain.samePadding(3, 3, 3, 1)];
    const start = norm(x, 'norm1', prior, 16);
    const inner = plain.conv2d(start.output, at['conv1.weight']!, [2, 2], first);
    const between = propagate(standard(16), at['conv1.weight']!, {
      splits: 1,
      height: 6,
      width: 6,
      stride: [2, 2],
      sides: first,
    });
    const middle = norm(inner, 'norm2', between, 32);
    const branch = plain.conv2d(middle.output, at['conv2.weight']!, [1, 1], second);
    const expected = plain.add(plain.padChannels(plain.avgPool2d(x, 2), 8, 8), branch);
    const behind = addBeliefs(
      padBelief(start.belief, 1, 8, 8, true),
      propagate(standard(32), at['conv2.weight']!, { splits: 1, height: 3, width: 3, stride: [1, 1], sides: second }),
    );
    const near = (actual: ArrayLike<number>, wanted: NdArray, what: string) => {
      const largest = Math.max(...wanted.data.map(Math.abs));
      const off = Math.max(...Array.from(actual, (value, i) => Math.abs(value - wanted.data[i]!)));
      t.true(off <= tolerance.block * largest, `${what}: off by ${off / largest} of the largest`);
    };
    near(await result.x.data(), expected, 'samples');
    near(await result.belief!.mean.data(), behind.mean, 'mean');
    near(await result.belief!.variance.data(), behind.variance, 'variance');
  },
);
