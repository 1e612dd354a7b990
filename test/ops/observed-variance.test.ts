import test from 'ava';
import { native } from '../../lib/addon/load.js';
import { KalmanNormError, openDevice, Tensor } from '../../lib/index.js';
import { map, ndarray, zip } from '../support/array.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { deviceNames, eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';

// Neither operation has a gradient: what samples show moves averages, outside of the tape.

const cases = [
  { shape: [3, 5, 7, 7], updates: 0, warmUp: true },
  { shape: [8, 16, 9, 9], updates: 200, warmUp: true },
  { shape: [8, 24, 16, 16], updates: 3, warmUp: false },
  { shape: [1, 40, 1, 1], updates: 3, warmUp: true },
  // More channels than the threads of a block take at a time.
  { shape: [1, 264, 1, 1], updates: 3, warmUp: true },
  // Several slabs of channels, and more chunks than every block merges by itself.
  { shape: [2, 256, 33, 33], updates: 3, warmUp: true },
  { shape: [6, 10], updates: 3, warmUp: true },
];

for (const { shape, updates, warmUp } of cases) {
  eachDevice(
    test,
    `centerObserved: [${shape}] by its formula, after ${updates} updates${warmUp ? ', warming up' : ''}`,
    async (t, device, random) => {
      const [samples = 1, channels = 1, height = 1, width = 1] = shape;
      const shift = random.uniform(-3, 3);
      const y = map(random.normals(shape), (value) => Math.fround(value + shift));
      const [center, variance] = [random.normals([channels]), random.uniforms([channels], 0.5, 2)];
      const [given, before, spread] = [y, center, variance].map((array) =>
        device.tensor(Float32Array.from(array.data), array.shape),
      ) as [Tensor, Tensor, Tensor];
      const counter = device.full([1], updates, { dtype: 'int32' });
      const averages = { center: before.handle, averageVariance: spread.handle, updates: counter.handle };
      const found = native.centerObserved({ y: given.handle, ...averages, decay: 0.98, warmUp });
      const [centered, next] = [new Tensor(device, found.centered), new Tensor(device, found.next)];

      const share = Math.max(0.02, warmUp ? 9 / (10 + updates) : 0);
      const shown = plain.moments(ndarray([samples, channels, height, width], y.data), 1);
      const newCenter = zip(center, shown.mean, (old, mean) => old + share * (mean - old));
      const off = zip(shown.mean, newCenter, (mean, now) => (mean - now) ** 2);
      const newVariance = map(variance, (old, c) => old + share * (shown.variance.data[c]! + off.data[c]! - old));
      const values = await next.data();
      // What is averaged, and taken off, is itself good to that of the normalizations.
      const precision = tolerance.normalization * (1 + Math.abs(shift));
      closeTo(t, values.subarray(0, channels), newCenter.data, precision, 'center');
      closeTo(t, values.subarray(channels, 2 * channels), newVariance.data, precision, 'variance');
      closeTo(t, values.subarray(2 * channels), [share], tolerance.elementwise, 'share');
      const pixels = height * width;
      const expected = map(y, (value, i) => value - newCenter.data[Math.floor(i / pixels) % channels]!);
      closeTo(t, await centered.data(), expected.data, precision, 'centered');
      // The averages stay as they are.
      t.is(bits(await before.data()), bits(center.data));
      t.is(bits(await spread.data()), bits(variance.data));
      t.deepEqual([...(await counter.data())], [updates]);
    },
  );
}

for (const filter of [
  [3, 5, 3, 3],
  [16, 8, 3, 3],
  [64, 40, 2, 3],
] as const) {
  eachDevice(test, `averageObserved: [${filter}], by its formula`, async (t, device, random) => {
    const [channels] = filter;
    const [products, slope] = [random.normals(filter), random.normals(filter)];
    const vectors = [random.normals([2 * channels + 1]), random.normals([channels]), random.normals([channels])];
    const [share, scale] = [Math.fround(0.3), 0.125];
    vectors[0]!.data[2 * channels] = share;
    const [value, average] = [products, slope].map((array) =>
      device.tensor(Float32Array.from(array.data), filter, { format: 'filter' }),
    ) as [Tensor, Tensor];
    const [next, center, variance] = vectors.map((array) => device.tensor(Float32Array.from(array.data))) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const updates = device.full([1], 2 ** 31 - 1, { dtype: 'int32' });
    native.averageObserved({
      products: value.handle,
      scale,
      next: next.handle,
      slope: average.handle,
      center: center.handle,
      averageVariance: variance.handle,
      updates: updates.handle,
    });
    const expected = zip(slope, products, (old, product) => old + share * (scale * product - old));
    closeTo(t, await average.data(), expected.data, tolerance.elementwise, 'slope');
    t.is(bits(await center.data()), bits(vectors[0]!.data.slice(0, channels)));
    t.is(bits(await variance.data()), bits(vectors[0]!.data.slice(channels, 2 * channels)));
    // It wraps around, as other counters do.
    t.deepEqual([...(await updates.data())], [-(2 ** 31)]);
  });
}

for (const precision of ['fp16', 'bf16'] as const) {
  const there = deviceNames.includes('cuda-emulated');
  (there ? test : test.skip)(
    `averageObserved: a gradient in ${precision} moves averages as a widened one`,
    async (t) => {
      await using device = openDevice('cuda-emulated', { precision });
      const values = (count: number, factor: number) =>
        Float32Array.from({ length: count }, (_, i) => Math.sin(i * factor));
      const [x, dy] = [
        device.tensor(values(2 * 8 * 25, 0.7), [2, 8, 5, 5]),
        device.tensor(values(2 * 16 * 25, 1.3), [2, 16, 5, 5]),
      ];
      const w = device.zeros([16, 8, 3, 3], { format: 'filter' });
      const moved = await Promise.all(
        [true, false].map(async (rounded) => {
          const operands = { x: x.handle, dy: dy.handle, w: w.handle, shape: [1, 1, 1, 1, 1, 1] as const, rounded };
          const products = native.conv2dBackwardWeights(operands);
          const slope = device.full(w.shape, 0.5, { format: 'filter' });
          native.averageObserved({
            products,
            scale: 0.1,
            next: device.full([33], 0.25).handle,
            slope: slope.handle,
            center: device.zeros([16]).handle,
            averageVariance: device.zeros([16]).handle,
            updates: device.full([1], 0, { dtype: 'int32' }).handle,
          });
          products.dispose();
          return bits(await slope.data());
        }),
      );
      t.is(moved[0], moved[1]);
    },
  );
}

eachDevice(test, 'observed operations refuse what does not fit, before anything runs', (t, device) => {
  const [y, slope] = [device.zeros([2, 4, 3, 3]), device.zeros([4, 2, 3, 3], { format: 'filter' })];
  const [four, nine] = [device.zeros([4]), device.zeros([9])];
  const updates = device.full([1], 0, { dtype: 'int32' });
  const averages = { center: four.handle, averageVariance: four.handle, updates: updates.handle };
  const center = { y: y.handle, ...averages, decay: 0.9, warmUp: false };
  const average = { products: slope.handle, scale: 1, next: nine.handle, slope: slope.handle, ...averages };
  const two = device.zeros([2]).handle;
  const size = { height: 3, width: 3, shape: [1, 1, 1, 1, 1, 1], population: true, rectified: true } as const;
  const belief = { mean: two, variance: two, w: slope.handle, splits: 1, ...size };
  const shown = { slope: slope.handle, believed: four.handle, average: four.handle };
  const predict = { ...belief, dmean: four.handle, dvariance: four.handle, ...shown };
  const ofTwo = { mean: four.handle, variance: four.handle, splits: 2, dmean: y.handle, dvariance: y.handle };
  for (const [call, code, message] of [
    [() => native.centerObserved({ ...center, center: nine.handle }), 'SHAPE_MISMATCH', 'centerObserved: center'],
    [() => native.centerObserved({ ...center, decay: 1 }), 'INVALID_ARGUMENT', 'centerObserved: decay'],
    [() => native.centerObserved({ ...center, updates: four.handle }), 'DTYPE_MISMATCH', 'centerObserved: updates'],
    [() => native.averageObserved({ ...average, next: four.handle }), 'SHAPE_MISMATCH', 'averageObserved: next'],
    [() => native.averageObserved({ ...average, products: y.handle }), 'SHAPE_MISMATCH', 'averageObserved: products'],
    [() => native.averageObserved({ ...average, slope: y.handle }), 'SHAPE_MISMATCH', 'averageObserved: slope'],
    [() => native.averageObserved({ ...average, scale: Number.NaN }), 'INVALID_ARGUMENT', 'averageObserved: scale'],
    [() => native.predictBackward({ ...predict, slope: y.handle }), 'SHAPE_MISMATCH', 'predictBackward: slope'],
    [() => native.predictBackward({ ...predict, believed: two }), 'SHAPE_MISMATCH', 'predictBackward: believed'],
    [() => native.predictBackward({ ...predict, average: null }), 'INVALID_ARGUMENT', 'predictBackward: average'],
    [() => native.predictBackward({ ...predict, ...ofTwo }), 'INVALID_ARGUMENT', 'predictBackward: a slope'],
  ] as const) {
    const error = t.throws(call, { instanceOf: KalmanNormError });
    t.is(error?.code, code);
    t.true(error?.message.startsWith(message), error?.message);
  }
});
