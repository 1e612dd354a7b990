import test from 'ava';
import {
  BatchChannelNorm2d,
  BatchNorm2d,
  BatchRenorm2d,
  buildModel,
  type Device,
  type Layer,
  type Tensor,
} from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import type { TestRandom } from '../support/random.js';
import type { Statistics } from '../support/reference.js';
import { averagesAfter, batchChannelNorm, batchRenorm } from '../support/reference-rivals.js';

/** Shapes with the splits that training cuts them into. */
const batches = [
  { shape: [6, 5, 7, 3], splits: 3, groups: 5 },
  { shape: [4, 12, 4, 5], splits: 4, groups: 4 },
  { shape: [3, 16, 3, 3], splits: 1, groups: 2 },
] as const;

const epsilon = 1e-3;

/** Vectors' gradients are sums over samples and pixels, which may cancel to a fraction of what their terms' errors go with. */
const gradientTolerance = 4 * tolerance.normalization;

/** Running averages some steps into a training. */
function drawRunning(random: TestRandom, channels: number): Statistics {
  return { mean: random.normals([channels], 0.3, 0.4), variance: random.uniforms([channels], 0.5, 4) };
}

/** A layer that computes with other tensors than its own. */
function withTensors<L extends Layer>(
  device: Device,
  layer: L,
  running: Statistics,
  parameters: Readonly<Record<string, Tensor>>,
): L {
  const tensor = ({ data, shape }: Statistics['mean']) => device.tensor(Float32Array.from(data), shape);
  const averages = { runningMean: tensor(running.mean), runningVariance: tensor(running.variance) };
  return Object.assign(layer, averages, parameters);
}

for (const { shape, splits, groups } of batches) {
  const channels = shape[1];
  for (const relu of [false, true]) {
    const title = `[${shape}], ${splits} splits${relu ? ', ReLU' : ''}`;

    // Limits that some channels reach and some don't.
    for (const { rMax, dMax } of [
      { rMax: 3, dMax: 5 },
      { rMax: 1.2, dMax: 0.1 },
      { rMax: 1, dMax: 0 },
    ]) {
      eachDevice(test, `BatchRenorm2d: ${title}, limits ${rMax} and ${dMax}`, async (t, device, random) => {
        const options = { splits, epsilon, relu, rMax, dMax };
        const running = drawRunning(random, channels);
        await checkOp(t, device, random, () => ({
          inputs: {
            x: random.normals(shape, 0.5, 1.5),
            gamma: random.normals([channels], 1, 0.3),
            beta: random.normals([channels]),
          },
          run: ({ x, ...own }) => [
            withTensors(device, new BatchRenorm2d(device, channels, options), running, own).forward(x),
          ],
          reference: ({ x, ...own }, hold) => [batchRenorm(x, { ...own, ...options, running }, hold)],
          tolerance: tolerance.normalization,
          gradientTolerance,
        }));
      });
    }

    eachDevice(test, `BatchChannelNorm2d: ${title}, ${groups} groups`, async (t, device, random) => {
      const options = { splits, epsilon, relu, groups, momentum: 0.3 };
      const running = drawRunning(random, channels);
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals(shape, 0.5, 1.5),
          gamma: random.normals([channels], 1, 0.3),
          beta: random.normals([channels]),
          batchGamma: random.normals([channels], 1, 0.3),
          batchBeta: random.normals([channels]),
        },
        run: ({ x, ...own }) => [
          withTensors(device, new BatchChannelNorm2d(device, channels, options), running, own).forward(x),
        ],
        reference: ({ x, ...own }, hold) => [
          batchChannelNorm(x, { ...own, ...options, averages: hold(averagesAfter(x, running, splits, 0.3)) }),
        ],
        tolerance: tolerance.normalization,
        gradientTolerance,
      }));
    });
  }
}

eachDevice(test, 'BRN, BCN: training moves the averages, inference uses them', async (t, device, random) => {
  const [channels, splits, momentum] = [12, 2, 0.3];
  const x = random.normals([4, channels, 3, 5], 0.5, 1.5);
  const running = drawRunning(random, channels);
  const after = averagesAfter(x, running, splits, momentum);
  const ones = random.uniforms([channels], 1, 1);
  const zeros = random.uniforms([channels], 0, 0);
  const own = { gamma: ones, beta: zeros, epsilon };
  // With averages in place of statistics and nothing to make up for, renormalization is (x - μ) / σ.
  const inference = {
    BatchRenorm2d: batchRenorm(x, { ...own, running: after, splits: 1, rMax: Infinity, dMax: Infinity }, (v) => v),
    BatchChannelNorm2d: batchChannelNorm(x, {
      ...own,
      batchGamma: ones,
      batchBeta: zeros,
      averages: after,
      groups: 4,
    }),
  };
  for (const made of [
    new BatchRenorm2d(device, channels, { splits, momentum, epsilon }),
    new BatchChannelNorm2d(device, channels, { splits, momentum, epsilon, groups: 4 }),
  ]) {
    using layer = withTensors(device, made, running, {});
    using input = device.tensor(Float32Array.from(x.data), x.shape);
    layer.forward(input).dispose();
    closeTo(t, await layer.runningMean.data(), after.mean.data, tolerance.normalization, 'running mean', 1);
    closeTo(t, await layer.runningVariance.data(), after.variance.data, tolerance.normalization, 'running variance');
    const expected = inference[made.constructor.name as keyof typeof inference];
    using inferred = layer.eval().forward(input);
    closeTo(t, await inferred.data(), expected.data, tolerance.normalization, made.constructor.name);
    closeTo(t, await layer.runningMean.data(), after.mean.data, tolerance.normalization, 'mean after inference', 1);
  }
});

eachDevice(test, 'BRN without room for corrections is batch normalization', async (t, device, random) => {
  const x = random.normals([4, 5, 3, 5], 0.5, 1.5);
  using input = device.tensor(Float32Array.from(x.data), x.shape);
  using renorm = new BatchRenorm2d(device, 5, { splits: 2, rMax: 1, dMax: 0 });
  using norm = new BatchNorm2d(device, 5, { splits: 2 });
  using expected = norm.forward(input);
  using actual = renorm.forward(input);
  closeTo(t, await actual.data(), await expected.data(), tolerance.normalization, 'output');
});

eachDevice(test, 'BRN, BCN: what they begin with, and anew from specs', async (t, device, random) => {
  const x = random.normals([2, 12, 3, 3]);
  using input = device.tensor(Float32Array.from(x.data), x.shape);
  for (const [make, parameters] of [
    [() => new BatchRenorm2d(device, 12, { splits: 2, rMax: 2, dMax: 1, relu: true }), ['gamma', 'beta']],
    [() => new BatchChannelNorm2d(device, 12, { groups: 4 }), ['gamma', 'beta', 'batchGamma', 'batchBeta']],
  ] as const) {
    using layer: Layer = make();
    t.deepEqual([...layer.namedParameters().keys()], [...parameters]);
    t.deepEqual([...layer.namedBuffers().keys()], ['runningMean', 'runningVariance']);
    using output = layer.forward(input);
    using copy = buildModel(device, layer.spec()!) as Layer;
    t.deepEqual(copy.spec(), layer.spec());
    using same = copy.train().forward(input);
    t.is(bits(await same.data()), bits(await output.data()));
  }
});

eachDevice(test, 'BRN, BCN: wrong options and samples are typed errors', (t, device) => {
  for (const [make, message] of [
    [() => new BatchRenorm2d(device, 4, { rMax: 0.5 }), /rMax must be a number of at least 1, got 0.5/],
    [() => new BatchRenorm2d(device, 4, { rMax: Infinity }), /rMax/],
    [() => new BatchRenorm2d(device, 4, { dMax: -1 }), /dMax must be a number of at least 0, got -1/],
    [() => new BatchRenorm2d(device, 4, { dMax: Number.NaN }), /dMax/],
    [() => new BatchChannelNorm2d(device, 16), /groups must be a divisor of the 16 channels, got 32/],
    [() => new BatchChannelNorm2d(device, 16, { groups: 3 }), /groups/],
    [() => buildModel(device, { type: 'BatchRenorm2d', channels: 4, rMax: 0 }), /rMax/],
    [() => buildModel(device, { type: 'BatchChannelNorm2d', channels: 16, groups: 5 }), /groups/],
  ] as const) {
    t.throws(make, { code: 'INVALID_ARGUMENT', message });
  }
  for (const layer of [
    new BatchRenorm2d(device, 4, { splits: 2 }),
    new BatchChannelNorm2d(device, 4, { groups: 2, splits: 2 }),
  ]) {
    const name = layer.constructor.name;
    t.throws(() => layer.forward(device.ones([2, 8, 3, 3])), {
      code: 'SHAPE_MISMATCH',
      message: `${name}: x must have shape [N, 4, H, W], got [2, 8, 3, 3]`,
    });
    t.throws(() => layer.forward(device.ones([2, 4])), { code: 'SHAPE_MISMATCH' });
    t.throws(() => layer.forward(device.ones([3, 4, 2, 2])), { code: 'INVALID_ARGUMENT', message: /splits/ });
  }
});
