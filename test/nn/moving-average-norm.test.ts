import test from 'ava';
import {
  backward,
  buildModel,
  Conv2d,
  type Device,
  type Layer,
  MovingAverageBatchNorm2d,
  type MovingAverageBatchNormOptions,
} from '../../lib/index.js';
import { concat, type NdArray, slice, sum, zip } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import type { TestRandom } from '../support/random.js';
import { relu as rectify } from '../support/reference.js';
import { type MovingAverages, movingAverageNorm } from '../support/reference-rivals.js';

const epsilon = 1e-3;

/** Averages of a few micro-batches with their roundings; vectors' gradients may cancel. */
const allowed = 4 * tolerance.normalization;

const upload = (device: Device, { data, shape }: NdArray) => device.tensor(Float32Array.from(data), shape);

/** A layer with scale and shift as training might leave them. */
function layerOf(device: Device, random: TestRandom, channels: number, options: MovingAverageBatchNormOptions) {
  const layer = new MovingAverageBatchNorm2d(device, channels, { epsilon, ...options });
  const gamma = random.normals([channels], 1, 0.3);
  const beta = random.normals([channels]);
  layer.gamma?.write(Float32Array.from(gamma.data));
  layer.beta?.write(Float32Array.from(beta.data));
  return { layer, gamma, beta };
}

// The first step ends its warm-up, the second begins to renormalize; steps smaller than a window, and larger.
for (const { shape, splits, window } of [
  { shape: [6, 5, 4, 3], splits: 3, window: 2 },
  { shape: [8, 12, 3, 3], splits: 4, window: 16 },
  { shape: [16, 8, 2, 3], splits: 16, window: 4 },
  { shape: [3, 16, 3, 3], splits: 1, window: 3 },
]) {
  const channels = shape[1]!;
  eachDevice(test, `MABN: [${shape}] in ${splits}, window ${window}: as the algorithm`, async (t, device, random) => {
    const warmUp = window + Math.ceil(splits / 2);
    const momentum = 0.1;
    const { layer, gamma, beta } = layerOf(device, random, channels, { splits, window, warmUp, momentum });
    const ones = random.uniforms([channels], 1, 1);
    const state: MovingAverages = { squares: [], products: [], running: ones, microBatches: 0 };
    for (let step = 0; step < 3 + Math.ceil((2 * window) / splits); step++) {
      if (step === 1 + Math.ceil((2 * window) / splits)) {
        // As after many more steps.
        state.microBatches = 1000 - Math.ceil(splits / 2);
        layer.microBatches.fill(state.microBatches);
      }
      const x = random.normals(shape, 0.2 * step, 1 + step);
      const dy = random.normals(shape, 0.1);
      const size = shape[0]! / splits;
      const options = { gamma, beta, epsilon, window, warmUp, momentum };
      const parts = Array.from({ length: splits }, (_, s) => {
        const [from, to] = [s * size, (s + 1) * size];
        return movingAverageNorm(slice(x, from, to), slice(dy, from, to), state, options);
      });
      const expected = parts.reduce((all, part) => ({
        y: concat(all.y, part.y),
        dx: concat(all.dx, part.dx),
        dgamma: zip(all.dgamma, part.dgamma, (a, b) => a + b),
        dbeta: zip(all.dbeta, part.dbeta, (a, b) => a + b),
      }));
      const input = upload(device, x);
      input.requiresGrad = true;
      layer.zeroGrad();
      const y = layer.forward(input);
      closeTo(t, await y.data(), expected.y.data, allowed, `step ${step}: output`);
      backward(y, upload(device, dy));
      closeTo(t, await input.grad!.data(), expected.dx.data, allowed, `step ${step}: gradient of x`);
      closeTo(t, await layer.gamma!.grad!.data(), expected.dgamma.data, allowed, `step ${step}: gradient of gamma`, 1);
      closeTo(t, await layer.beta!.grad!.data(), expected.dbeta.data, allowed, `step ${step}: gradient of beta`, 1);
      closeTo(t, await layer.runningVariance.data(), state.running.data, allowed, `step ${step}: running average`);
    }
    t.true((await layer.runningMean.data()).every((value) => value === 0));
    t.is(await layer.microBatches.item(), state.microBatches);
  });
}

for (const relu of [false, true]) {
  eachDevice(test, `MABN: the warm-up's gradients${relu ? ', ReLU' : ''}`, async (t, device, random) => {
    const [shape, splits] = [[6, 12, 3, 4], 3];
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals(shape, 0.5, 1.5),
        gamma: random.normals([12], 1, 0.3),
        beta: random.normals([12]),
      },
      run: ({ x, ...own }) => [
        Object.assign(new MovingAverageBatchNorm2d(device, 12, { splits, epsilon, relu }), own).forward(x),
      ],
      reference: ({ x, gamma, beta }) => {
        const size = 2;
        const options = { gamma, beta, epsilon, window: 16, warmUp: 100, momentum: 0.02 };
        const parts = Array.from({ length: splits }, (_, s) => {
          const part = slice(x, s * size, (s + 1) * size);
          const state: MovingAverages = { squares: [], products: [], running: gamma, microBatches: 0 };
          return movingAverageNorm(part, part, state, options).y;
        });
        const y = parts.reduce(concat);
        return [relu ? rectify(y) : y];
      },
      tolerance: tolerance.normalization,
      gradientTolerance: allowed,
    }));
  });
}

eachDevice(test, 'MABN: splits are micro-batches one after the other', async (t, device, random) => {
  const options = { window: 3, warmUp: 2, relu: true };
  const whole = new MovingAverageBatchNorm2d(device, 5, { ...options, splits: 4 });
  const parts = new MovingAverageBatchNorm2d(device, 5, options);
  for (const layer of [whole, parts]) layer.microBatches.fill(998);
  for (let step = 0; step < 3; step++) {
    const x = random.normals([8, 5, 3, 3], 0.3, 1 + step);
    const dy = random.normals([8, 5, 3, 3]);
    const run = async (layer: Layer, from: number, to: number) => {
      const input = upload(device, slice(x, from, to));
      input.requiresGrad = true;
      const y = layer.forward(input);
      backward(y, upload(device, slice(dy, from, to)));
      return { y: [...(await y.data())], dx: [...(await input.grad!.data())] };
    };
    const all = await run(whole, 0, 8);
    const each = [];
    for (let s = 0; s < 4; s++) each.push(await run(parts, 2 * s, 2 * s + 2));
    closeTo(
      t,
      all.y,
      each.flatMap(({ y }) => y),
      allowed,
      `step ${step}: output`,
    );
    closeTo(
      t,
      all.dx,
      each.flatMap(({ dx }) => dx),
      allowed,
      `step ${step}: gradient`,
    );
  }
  for (const [name, tensor] of whole.namedBuffers()) {
    closeTo(t, await tensor.data(), await parts.namedBuffers().get(name)!.data(), allowed, name, 1);
  }
});

eachDevice(test, 'MABN: a recorded step moves its state as an eager one', async (t, device, random) => {
  const x = upload(device, random.normals([4, 8, 3, 3]));
  const dy = upload(device, random.normals([4, 8, 3, 3]));
  x.requiresGrad = true;
  const states = [];
  for (const recorded of [false, true]) {
    using layer = new MovingAverageBatchNorm2d(device, 8, { splits: 2, window: 2, warmUp: 3 });
    const step = () => {
      x.zeroGrad();
      using y = layer.forward(x);
      backward(y, dy);
    };
    step();
    if (recorded) device.record(step).program.run(3);
    else for (let i = 0; i < 3; i++) step();
    states.push(bits([...(await layer.gradients.data()), ...(await layer.runningVariance.data())]));
    t.is(await layer.microBatches.item(), 8);
  }
  t.is(states[0], states[1]);
});

eachDevice(test, 'MABN: the first step is not to be recorded; a file cannot ask for much', (t, device) => {
  using layer = new MovingAverageBatchNorm2d(device, 4, { splits: 2 });
  const x = device.ones([2, 4, 3, 3]);
  t.throws(() => device.record(() => layer.forward(x)), {
    code: 'INVALID_STATE',
    message: /^MovingAverageBatchNorm2d: run a step before one is recorded/,
  });
  using inference = buildModel(device, { ...layer.spec(), splits: 2 ** 20 }) as MovingAverageBatchNorm2d;
  t.notThrows(() => inference.eval().forward(x));
});

eachDevice(test, 'MABN: what is not finite moves no averages', async (t, device) => {
  const x = new Float32Array(4 * 2 * 9).map((_, i) => Math.sin(i));
  x[5] = Number.NaN; // sample 0, channel 0
  using layer = new MovingAverageBatchNorm2d(device, 2, { splits: 2, window: 2 });
  using y = layer.forward(device.tensor(x, [4, 2, 3, 3]));
  t.true([...(await y.data())].some(Number.isNaN), 'the output shows it');
  t.true((await layer.squares.data()).every(Number.isFinite));
  const [first, second] = await layer.runningVariance.data();
  t.is(first, 1);
  t.not(second, 1);
});

eachDevice(test, 'MABN: inference is by the running average; anew from specs', async (t, device, random) => {
  const x = random.normals([4, 6, 3, 5], 0.5, 1.5);
  const { layer, gamma, beta } = layerOf(device, random, 6, { splits: 2, window: 3, warmUp: 4 });
  layer.forward(upload(device, x));
  const running = await layer.runningVariance.data();
  using y = layer.eval().forward(upload(device, x));
  const expected = x.data.map((value, i) => {
    const c = Math.floor(i / 15) % 6;
    return (value / Math.sqrt(running[c]! + epsilon)) * gamma.data[c]! + beta.data[c]!;
  });
  closeTo(t, await y.data(), expected, tolerance.normalization, 'inference');
  t.deepEqual([...layer.namedParameters().keys()], ['gamma', 'beta']);
  const buffers = ['runningMean', 'runningVariance', 'squares', 'gradients', 'microBatches'];
  t.deepEqual([...layer.namedBuffers().keys()], buffers);
  using copy = buildModel(device, layer.spec()) as MovingAverageBatchNorm2d;
  t.deepEqual(copy.spec(), layer.spec());
  copy.loadStateDict(await layer.stateValues());
  using same = copy.eval().forward(upload(device, x));
  t.is(bits(await same.data()), bits(await y.data()));
});

eachDevice(test, 'centered filters: outputs of inputs with one mean have the mean 0', async (t, device, random) => {
  using conv = new Conv2d(device, 5, 8, 3, { weightStandardization: 'centered' });
  using x = upload(device, random.uniforms([2, 5, 3, 3], 0.7, 0.7));
  using y = conv.forward(x);
  t.true((await y.data()).every((value) => Math.abs(value) < 1e-5));
  using copy = buildModel(device, conv.spec()!);
  t.deepEqual(copy.spec(), conv.spec());
});

eachDevice(test, 'MABN: wrong options and samples are typed errors', (t, device) => {
  for (const [make, message] of [
    [
      () => new MovingAverageBatchNorm2d(device, 4, { window: 1 }),
      /window must be a whole number of at least 2, got 1/,
    ],
    [() => new MovingAverageBatchNorm2d(device, 4, { warmUp: -1 }), /warmUp must be a whole number of at least 0/],
    [() => new MovingAverageBatchNorm2d(device, 4, { momentum: 2 }), /momentum/],
    [() => buildModel(device, { type: 'MovingAverageBatchNorm2d', channels: 4, window: 1 }), /window/],
    [() => buildModel(device, { type: 'MovingAverageBatchNorm2d', channels: 4, warmUp: 0.5 }), /warmUp/],
    [() => new Conv2d(device, 3, 4, 3, { weightStandardization: 'centred' as 'centered' }), /"centered"/],
  ] as const) {
    t.throws(make, { code: 'INVALID_ARGUMENT', message });
  }
  using layer = new MovingAverageBatchNorm2d(device, 4, { splits: 2 });
  t.throws(() => layer.forward(device.ones([2, 8, 3, 3])), {
    code: 'SHAPE_MISMATCH',
    message: 'MovingAverageBatchNorm2d: x must have shape [N, 4, H, W], got [2, 8, 3, 3]',
  });
  t.throws(() => layer.forward(device.ones([3, 4, 2, 2])), { code: 'INVALID_ARGUMENT', message: /splits/ });
});

test('reference: a micro-batch by hand', (t) => {
  const x = { shape: [2, 1, 1, 1], data: Float64Array.of(3, 1) };
  const vector = (value: number) => ({ shape: [1], data: Float64Array.of(value) });
  const state: MovingAverages = { squares: [], products: [], running: vector(1), microBatches: 0 };
  const options = { gamma: vector(2), beta: vector(1), epsilon: 0, window: 2, warmUp: 0, momentum: 0.5 };
  const { y, dx } = movingAverageNorm(x, { ...x, data: Float64Array.of(1, 0) }, state, options);
  const root = Math.sqrt(5);
  t.true(Math.abs(y.data[0]! - (6 / root + 1)) < 1e-12);
  // Of x1 / sqrt((x1² + x2²) / 2)·2.
  t.true(Math.abs(dx.data[0]! - (2 / root) * (1 - 9 / 10)) < 1e-12);
  t.is(state.running.data[0], 3);
  t.is(sum(state.squares[0]!.data), 5);
});
