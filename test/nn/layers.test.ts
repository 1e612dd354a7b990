import test from 'ava';
import {
  AdaptiveAvgPool2d,
  BatchNorm1d,
  BatchNorm2d,
  backward,
  buildModel,
  type Device,
  Dropout,
  Flatten,
  GELU,
  Identity,
  InstanceNorm2d,
  type Layer,
  LayerNorm,
  LeakyReLU,
  LogSoftmax,
  Sequential,
  Sigmoid,
  SiLU,
  Softmax,
  sum,
  Tanh,
} from '../../lib/index.js';
import { map, type NdArray } from '../support/array.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';
import { build, reduce } from '../support/reference-arrays.js';

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

function softmax(x: NdArray): NdArray {
  const sums = reduce(x, [1], (values) => values.reduce((total, value) => total + Math.exp(value), 0));
  return build(x.shape, ([n, ...rest]) => {
    const [c, ...pixel] = rest;
    const flat = (array: NdArray, index: number[]) =>
      array.data[index.reduce((offset, i, axis) => offset * array.shape[axis]! + i, 0)]!;
    return Math.exp(flat(x, [n!, c!, ...pixel])) / flat(sums, [n!, 0, ...pixel]);
  });
}

const cases: Record<string, { make(device: Device): Layer; expected(x: NdArray): NdArray; shape?: number[] }> = {
  LeakyReLU: { make: () => new LeakyReLU(0.3), expected: (x) => map(x, (v) => (v > 0 ? v : 0.3 * v)) },
  SiLU: { make: () => new SiLU(), expected: (x) => map(x, (v) => v * sigmoid(v)) },
  Sigmoid: { make: () => new Sigmoid(), expected: (x) => map(x, sigmoid) },
  Tanh: { make: () => new Tanh(), expected: (x) => map(x, Math.tanh) },
  Softmax: { make: () => new Softmax(), expected: softmax },
  LogSoftmax: { make: () => new LogSoftmax(), expected: (x) => map(softmax(x), Math.log) },
  Identity: { make: () => new Identity(), expected: (x) => x },
  Flatten: { make: () => new Flatten(), expected: ({ data }) => ({ shape: [4, 72], data }) },
  'AdaptiveAvgPool2d to one pixel': {
    make: () => new AdaptiveAvgPool2d(),
    expected: (x) => ({ shape: [4, 8, 1, 1], data: plain.globalAvgPool(x).data }),
  },
  'AdaptiveAvgPool2d to 3 x 3': { make: () => new AdaptiveAvgPool2d(3), expected: (x) => x },
  LayerNorm: { make: (device) => new LayerNorm(device, 8), expected: (x) => plain.groupNorm(x, 1) },
  InstanceNorm2d: { make: (device) => new InstanceNorm2d(device, 8), expected: (x) => plain.groupNorm(x, 8) },
  'BatchNorm1d in training': {
    make: (device) => new BatchNorm1d(device, 5),
    shape: [6, 5],
    expected: (x) => ({ ...plain.batchNorm({ shape: [6, 5, 1, 1], data: x.data }, 1), shape: [6, 5] }),
  },
  'Dropout of rate 0': { make: (device) => new Dropout(device, 0), expected: (x) => x },
  'Dropout in inference': { make: (device) => new Dropout(device, 0.4).eval(), expected: (x) => x },
};

for (const [name, { make, expected, shape = [4, 8, 3, 3] }] of Object.entries(cases)) {
  eachDevice(test, `layers: ${name}, made anew from its spec too`, async (t, device, random) => {
    const x = random.normals(shape);
    const { shape: outputShape, data } = expected(x);
    using layer = make(device);
    using copy = buildModel(device, layer.spec()!) as Layer;
    t.is(copy.constructor, layer.constructor);
    t.deepEqual(copy.spec(), layer.spec());
    copy.train(layer.training);
    for (const each of [layer, copy]) {
      const y = each.forward(device.tensor(Float32Array.from(x.data), shape));
      t.deepEqual([...y.shape], [...outputShape]);
      closeTo(t, await y.data(), data, tolerance.normalization, name, 1);
    }
  });
}

eachDevice(test, 'Dropout: what is kept, what flows back, and that every forward draws anew', async (t, device) => {
  for (const [rate, shape] of [
    [0.2, [8, 16, 12, 12]],
    [0.5, [64, 250]],
    [0.8, [8, 5, 25, 16]],
  ] as const) {
    using layer = new Dropout(device, rate, { seed: 3 });
    const x = device.full(shape, 3);
    x.requiresGrad = true;
    const y = layer.forward(x);
    backward(sum(y));
    const values = await y.data();
    const kept = values.filter((value) => value !== 0);
    t.true(kept.every((value) => Math.abs(value * (1 - rate) - 3) < 1e-6));
    // Five standard deviations.
    const share = kept.length / values.length;
    t.true(Math.abs(share - (1 - rate)) < 5 * Math.sqrt((rate * (1 - rate)) / values.length), `kept ${share}`);
    closeTo(
      t,
      await x.grad!.data(),
      values.map((value) => value / 3),
      tolerance.elementwise,
      'gradient',
    );
    t.notDeepEqual(await layer.forward(x).data(), values);
    using again = new Dropout(device, rate, { seed: 3 });
    t.deepEqual(await again.forward(x).data(), values);
  }
});

eachDevice(test, 'Dropout: the stream goes on where a saved one stood', async (t, device) => {
  using first = new Sequential(new Dropout(device, 0.5, { seed: 1 }), new GELU());
  using second = new Sequential(new Dropout(device, 0.5, { seed: 2 }), new GELU());
  const x = device.ones([4, 50]);
  first.forward(x);
  second.loadStateDict(await first.stateValues());
  t.deepEqual(await second.forward(x).data(), await first.forward(x).data());
});

eachDevice(test, 'layers: wrong options and samples are typed errors', (t, device) => {
  for (const make of [
    () => new LeakyReLU(Number.NaN),
    () => new Softmax(0.5),
    () => new AdaptiveAvgPool2d(0),
    () => new Dropout(device, 1),
    () => new Dropout(device, 0.5, { seed: -1 }),
    () => new LayerNorm(device, 0),
    () => buildModel(device, { type: 'Dropout', rate: 1 }),
    () => buildModel(device, { type: 'LeakyReLU', slope: 'steep' }),
  ]) {
    t.throws(make, { code: 'INVALID_ARGUMENT' });
  }
  const x = device.ones([2, 8, 4, 6]);
  t.throws(() => new AdaptiveAvgPool2d(2).forward(x), { code: 'SHAPE_MISMATCH', message: /square/ });
  t.throws(() => new BatchNorm1d(device, 8).forward(x), { code: 'SHAPE_MISMATCH', message: /\[N, 8\]/ });
});

eachDevice(test, 'running averages: a channel that is not finite in a batch keeps its own', async (t, device) => {
  const values = new Float32Array(2 * 3 * 4).fill(1);
  values[3] = Number.NaN;
  values[4 * 3 + 4] = Number.POSITIVE_INFINITY;
  const x = device.tensor(values, [2, 3, 2, 2]);
  for (const runningStats of ['all-splits', 'first-split'] as const) {
    const norm = new BatchNorm2d(device, 3, { momentum: 0.5, runningStats });
    norm.forward(x);
    t.deepEqual([...(await norm.runningMean.data())], [0, 0, 0.5]);
    t.deepEqual([...(await norm.runningVariance.data())], [1, 1, 0.5]);
  }
});
