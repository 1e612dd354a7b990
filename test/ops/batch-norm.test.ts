import test from 'ava';
import { add, BatchNorm2d, batchNorm, normalize, scale, updateRunning } from '../../lib/index.js';
import { map, ndarray, sum } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import type { TestRandom } from '../support/random.js';
import * as reference from '../support/reference.js';

const cases: { shape: readonly number[]; splits: number; large?: boolean }[] = [
  { shape: [3, 5, 7, 3], splits: 1 },
  { shape: [4, 12, 5, 5], splits: 2 },
  { shape: [8, 24, 3, 5], splits: 4 },
  { shape: [128, 3, 3, 3], splits: 64 },
  { shape: [128, 8, 1, 2], splits: 32 },
  { shape: [2, 16, 13, 11], splits: 1 },
  { shape: [5, 1, 4, 3], splits: 1 },
  // More rows than a block of a GPU takes, by access of one value and of several.
  { shape: [6, 9, 80, 60], splits: 2, large: true },
  { shape: [2, 16, 60, 45], splits: 1, large: true },
  // More slabs of channels than there are counters of blocks.
  { shape: [8, 16500, 1, 1], splits: 1, large: true },
  { shape: [128, 40, 4, 1], splits: 64 },
  { shape: [12, 5], splits: 2 },
  { shape: [24, 16], splits: 4 },
];

/** Inputs of a normalization layer with gamma and beta. */
function layer(random: TestRandom, shape: readonly number[]) {
  return {
    x: random.normals(shape, 0.5, 1.5),
    gamma: random.normals([shape[1]!], 1, 0.3),
    beta: random.normals([shape[1]!], 0, 0.5),
  };
}

for (const { shape, splits, large } of cases) {
  // Of many values one is always near a ReLU's kink.
  for (const relu of large ? [false] : [false, true]) {
    eachDevice(test, `batchNorm: [${shape}] in ${splits}${relu ? ', relu' : ''}`, async (t, device, random) => {
      const epsilon = random.uniform() < 0.5 ? 1e-5 : 1e-2;
      await checkOp(t, device, random, () => ({
        inputs: layer(random, shape),
        run: ({ x, gamma, beta }) => {
          const { output, statistics } = batchNorm(x, { gamma, beta }, { splits, epsilon, relu });
          return [output, statistics.mean, statistics.variance];
        },
        reference: ({ x, gamma, beta }) => {
          const { mean, variance } = reference.moments(x, splits);
          return [reference.batchNorm(x, splits, { gamma, beta, epsilon, relu }), mean, variance];
        },
        tolerance: tolerance.normalization,
      }));
    });
  }
}

eachDevice(test, 'batchNorm: without gamma and beta, and with either', async (t, device, random) => {
  for (const [hasGamma, hasBeta] of [
    [false, false],
    [true, false],
    [false, true],
  ]) {
    await checkOp(t, device, random, () => {
      const { x, gamma, beta } = layer(random, [4, 5, 4, 3]);
      return {
        inputs: { x, gamma: { ...gamma, constant: !hasGamma }, beta: { ...beta, constant: !hasBeta } },
        run: (in_) => [
          batchNorm(in_.x, { gamma: hasGamma ? in_.gamma : null, beta: hasBeta ? in_.beta : null }, { splits: 2 })
            .output,
        ],
        reference: (in_) => [
          reference.batchNorm(in_.x, 2, { gamma: hasGamma ? in_.gamma : null, beta: hasBeta ? in_.beta : null }),
        ],
        tolerance: tolerance.normalization,
      };
    });
  }
});

eachDevice(test, 'batchNorm: its input is used elsewhere too, so gradients add', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: layer(random, [4, 12, 3, 5]),
    run: ({ x, gamma, beta }) => {
      const doubled = scale(x, 2);
      const { output } = batchNorm(doubled, { gamma, beta }, { splits: 2, relu: true });
      return [add(output, doubled)];
    },
    reference: ({ x, gamma, beta }) => {
      const doubled = map(x, (value) => 2 * value);
      return [reference.add(reference.batchNorm(doubled, 2, { gamma, beta, relu: true }), doubled)];
    },
    tolerance: tolerance.normalization,
  }));
});

for (const relu of [false, true]) {
  for (const shape of [
    [3, 5, 3, 4],
    [2, 24, 7, 5],
    [7, 12],
  ]) {
    eachDevice(test, `normalize: frozen statistics [${shape}]${relu ? ', relu' : ''}`, async (t, device, random) => {
      const channels = shape[1]!;
      await checkOp(t, device, random, () => ({
        inputs: {
          ...layer(random, shape),
          mean: { ...random.normals([channels]), constant: true },
          variance: { ...random.uniforms([channels], 0.2, 3), constant: true },
        },
        run: ({ x, gamma, beta, mean, variance }) => [normalize(x, { mean, variance }, { gamma, beta }, { relu })],
        reference: ({ x, gamma, beta, mean, variance }) => [
          reference.normalize(x, { mean, variance }, { gamma, beta, relu }),
        ],
        tolerance: tolerance.normalization,
      }));
    });
  }
}

eachDevice(test, 'updateRunning: all splits or the first, momentum and correction', async (t, device, random) => {
  const [splits, channels] = [4, 5];
  for (const allSplits of [true, false]) {
    const batch = { mean: random.normals([splits * channels]), variance: random.uniforms([splits * channels], 0.1, 2) };
    const old = { mean: random.normals([channels]), variance: random.uniforms([channels], 0.1, 2) };
    const upload = (x: typeof batch) => ({
      mean: device.tensor(Float32Array.from(x.mean.data)),
      variance: device.tensor(Float32Array.from(x.variance.data)),
    });
    const running = upload(old);
    updateRunning(running, upload(batch), { splits, momentum: 0.3, correction: 1.25, allSplits });
    for (const [part, correction] of [
      ['mean', 1],
      ['variance', 1.25],
    ] as const) {
      const target = Array.from({ length: channels }, (_, c) => {
        const values = Array.from({ length: splits }, (_, s) => batch[part].data[s * channels + c]!);
        return correction * (allSplits ? sum(values) / splits : values[0]!);
      });
      const expected = target.map((value, c) => 0.7 * old[part].data[c]! + 0.3 * value);
      closeTo(t, await running[part].data(), expected, tolerance.elementwise, `running ${part}`);
    }
  }
});

/** Batches whose blocks have all their threads, fewer than a team of splits, and some left over. */
const averaged: [shape: number[], splits: number][] = [
  [[6, 5, 3, 3], 1],
  [[64, 16, 5, 7], 32],
  [[64, 5, 1, 1], 64],
  [[64, 3, 1, 1], 64],
  [[4, 1288, 2, 1], 2],
  [[6, 7], 3],
];

for (const [shape, splits] of averaged) {
  eachDevice(test, `batchNorm: running averages, [${shape}] in ${splits}`, async (t, device, random) => {
    const channels = shape[1] as number;
    const affine = { gamma: null, beta: null };
    const x = device.tensor(Float32Array.from(random.normals(shape, 1, 2).data), shape, { format: 'activation' });
    for (const allSplits of [true, false]) {
      const how = { momentum: 0.3, correction: 1.25, allSplits };
      const start = () => ({ mean: device.full([channels], 3), variance: device.full([channels], 2) });
      const [together, apart] = [start(), start()];
      const { output, statistics } = batchNorm(x, affine, { splits, running: { ...together, ...how } });
      updateRunning(apart, statistics, { splits, ...how });
      for (const part of ['mean', 'variance'] as const) {
        closeTo(t, await together[part].data(), await apart[part].data(), tolerance.elementwise, `running ${part}`);
      }
      const plain = batchNorm(x, affine, { splits });
      t.is(bits(await output.data()), bits(await plain.output.data()));
    }
  });
}

eachDevice(test, 'batchNorm: running averages that are wrong are refused, and nothing moves', async (t, device) => {
  const x = device.ones([4, 3, 2, 2]);
  const running = {
    mean: device.zeros([3]),
    variance: device.ones([3]),
    momentum: 0.1,
    correction: 1,
    allSplits: true,
  };
  const run = (change: object) => batchNorm(x, { gamma: null, beta: null }, { running: { ...running, ...change } });
  t.throws(() => run({ mean: device.zeros([4]) }), {
    code: 'SHAPE_MISMATCH',
    message: /^batchNorm: running.mean must have shape \[3\], got \[4\]/,
  });
  t.throws(() => run({ variance: null }), { code: 'INVALID_ARGUMENT', message: /^batchNorm: running.variance/ });
  t.throws(() => run({ momentum: 2 }), { code: 'INVALID_ARGUMENT', message: /^batchNorm: running.momentum/ });
  t.throws(() => run({ correction: 0 }), { code: 'INVALID_ARGUMENT', message: /^batchNorm: running.correction/ });
  t.deepEqual([...(await running.mean.data())], [0, 0, 0]);
  t.deepEqual([...(await running.variance.data())], [1, 1, 1]);
});

for (const runningStats of ['all-splits', 'first-split'] as const) {
  eachDevice(test, `BatchNorm2d: two steps of training, then inference, ${runningStats}`, async (t, device, random) => {
    const [splits, channels] = [2, 5];
    const norm = new BatchNorm2d(device, channels, { splits, runningStats });
    const expected = { mean: ndarray([channels]), variance: ndarray([channels], new Array(channels).fill(1)) };
    for (let step = 0; step < 2; step++) {
      const x = random.normals([4, channels, 3, 3], 1, 2);
      norm.forward(device.tensor(Float32Array.from(x.data), x.shape)).dispose();
      const batch = reference.moments(x, splits);
      const count = 18;
      for (let c = 0; c < channels; c++) {
        const of = (v: { data: Float64Array }) =>
          runningStats === 'all-splits' ? (v.data[c]! + v.data[channels + c]!) / 2 : v.data[c]!;
        expected.mean.data[c]! += 0.1 * (of(batch.mean) - expected.mean.data[c]!);
        expected.variance.data[c]! += 0.1 * ((of(batch.variance) * count) / (count - 1) - expected.variance.data[c]!);
      }
    }
    closeTo(t, await norm.runningMean.data(), expected.mean.data, tolerance.normalization, 'running mean');
    closeTo(t, await norm.runningVariance.data(), expected.variance.data, tolerance.normalization, 'running variance');

    norm.eval();
    // A batch that the splits don't divide: inference ignores them.
    const x = random.normals([3, channels, 2, 3]);
    const y = norm.forward(device.tensor(Float32Array.from(x.data), x.shape));
    closeTo(t, await y.data(), reference.normalize(x, expected).data, tolerance.normalization, 'inference');
    closeTo(t, await norm.runningMean.data(), expected.mean.data, tolerance.normalization, 'unchanged by inference');
    norm.dispose();
  });
}

eachDevice(
  test,
  'BatchNorm2d: one value a channel: variance 0, the running average stays finite',
  async (t, device) => {
    const norm = new BatchNorm2d(device, 3);
    const y = norm.forward(device.tensor([4, -5, 6], [1, 3]));
    t.deepEqual([...(await y.data())], [0, 0, 0]);
    closeTo(t, await norm.runningVariance.data(), [0.9, 0.9, 0.9], tolerance.elementwise, 'running variance');
  },
);

for (const relu of [false, true]) {
  eachDevice(test, `batchNorm: engine cudnn${relu ? ', relu' : ''}`, async (t, device, random) => {
    const shape = [6, 16, 5, 7];
    const engine = 'cudnn';
    if (device.name === 'cpu') {
      const [x, one] = [device.ones(shape), device.ones([16])];
      t.throws(() => batchNorm(x, { gamma: one, beta: one }, { engine }), {
        code: 'INVALID_ARGUMENT',
        message: /engine 'cudnn' needs a CUDA device, got cpu/,
      });
      return;
    }
    await checkOp(t, device, random, () => ({
      inputs: layer(random, shape),
      run: ({ x, gamma, beta }) => {
        const { output, statistics } = batchNorm(x, { gamma, beta }, { engine, relu });
        return [output, statistics.mean, statistics.variance];
      },
      reference: ({ x, gamma, beta }) => {
        const { mean, variance } = reference.moments(x, 1);
        return [reference.batchNorm(x, 1, { gamma, beta, epsilon: 1e-5, relu }), mean, variance];
      },
      tolerance: tolerance.normalization,
    }));
    const norm = new BatchNorm2d(device, 16, { engine, relu });
    t.deepEqual(norm.forward(device.ones(shape)).shape, shape);
    norm.dispose();
  });
}

eachDevice(test, 'batchNorm: engine cudnn knows no splits and needs gamma and beta', (t, device) => {
  const [x, one] = [device.ones([4, 16, 3, 3]), device.ones([16])];
  const refused = (message: RegExp, body: () => void) => t.throws(body, { code: 'INVALID_ARGUMENT', message });
  refused(/knows no splits, got 2/, () => batchNorm(x, { gamma: one, beta: one }, { engine: 'cudnn', splits: 2 }));
  refused(/needs gamma and beta/, () => batchNorm(x, { gamma: null, beta: one }, { engine: 'cudnn' }));
});
