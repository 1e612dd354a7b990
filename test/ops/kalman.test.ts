import test from 'ava';
import {
  add,
  addBeliefs,
  Belief,
  batchNorm,
  type KalmanNormResult,
  kalmanNorm,
  scale,
  type Tensor,
  updateRunning,
} from '../../lib/index.js';
import { update } from '../../lib/kalman/index.js';
import { map, type NdArray, ndarray, slice, vector } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import type { TestRandom } from '../support/random.js';
import * as reference from '../support/reference.js';
import * as kalman from '../support/reference-kalman.js';

interface Case {
  /** Of the real samples. */
  shape: readonly number[];
  splits: number;
  relu?: boolean;
  gain?: number;
}

const cases: Case[] = [
  { shape: [3, 5, 7, 3], splits: 1 },
  { shape: [4, 12, 5, 3], splits: 2, relu: true },
  { shape: [8, 24, 3, 2], splits: 4, relu: true, gain: 0.95 },
  { shape: [128, 3, 3, 3], splits: 64 },
  { shape: [64, 8, 2, 3], splits: 32, relu: true },
  { shape: [2, 16, 9, 11], splits: 1, gain: 0.5 },
  { shape: [3, 1, 5, 5], splits: 3, gain: 0 },
  { shape: [4, 8, 3, 3], splits: 2, gain: 1 },
  { shape: [12, 5], splits: 2 },
];

function layer(random: TestRandom, shape: readonly number[]) {
  return {
    x: random.normals(shape, 0.3, 1.2),
    gamma: random.normals([shape[1]!], 1, 0.3),
    beta: random.normals([shape[1]!], 0, 0.5),
  };
}

function prior(random: TestRandom, { shape, splits }: Case) {
  const cells = [splits * shape[1]!];
  return { priorMean: random.normals(cells, 0.3, 0.7), priorVar: random.uniforms(cells, 0.4, 2) };
}

/** z of one virtual sample a split. */
function noise(random: TestRandom, { shape, splits }: Case) {
  return { ...random.normals([splits, ...shape.slice(1)]), constant: true };
}

const outputs = ({ output, posterior, observation, ratio }: KalmanNormResult): Tensor[] => [
  output,
  posterior.mean,
  posterior.variance,
  observation.mean,
  observation.variance,
  ratio,
];

const expected = ({ output, posterior, observation, ratio, used }: kalman.KalmanReference): NdArray[] => [
  output,
  posterior.mean,
  posterior.variance,
  observation.mean,
  observation.variance,
  vector([ratio, used ? 1 : 0]),
];

for (const c of cases) {
  const { shape, splits, relu = false, gain = 0.1 } = c;
  const title = `[${shape}] in ${splits}, gain ${gain}${relu ? ', relu' : ''}`;
  const common = { splits, gain, relu };

  eachDevice(test, `kalmanNorm: with a prior, ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { ...layer(random, shape), ...prior(random, c) },
      run: ({ x, gamma, beta, priorMean, priorVar }) =>
        outputs(kalmanNorm(x, new Belief(priorMean, priorVar, splits), { gamma, beta }, common)),
      reference: ({ x, gamma, beta, priorMean, priorVar }, hold) => {
        const given = { mean: priorMean, variance: priorVar };
        return expected(kalman.kalmanNorm(x, { ...common, gamma, beta, prior: given }, hold));
      },
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `kalmanNorm: without a prior, ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: layer(random, shape),
      run: ({ x, gamma, beta }) => outputs(kalmanNorm(x, null, { gamma, beta }, common)),
      reference: ({ x, gamma, beta }, hold) =>
        expected(kalman.kalmanNorm(x, { ...common, gamma, beta, prior: null }, hold)),
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `kalmanNorm: running averages of the posterior, ${title}`, async (t, device, random) => {
    const channels = shape[1]!;
    const tensor = ({ data, shape }: NdArray) => device.tensor(Float32Array.from(data), shape);
    const x = device.tensor(Float32Array.from(layer(random, shape).x.data), shape, { format: 'activation' });
    const { priorMean, priorVar } = prior(random, c);
    const affine = { gamma: null, beta: null };
    for (const belief of [null, new Belief(tensor(priorMean), tensor(priorVar), splits)]) {
      const how = { momentum: 0.3, correction: 1.25, allSplits: true };
      const start = () => ({ mean: device.full([channels], 3), variance: device.full([channels], 2) });
      const [together, apart] = [start(), start()];
      const { posterior } = kalmanNorm(x, belief, affine, { ...common, running: { ...together, ...how } });
      updateRunning(apart, posterior, { splits, ...how });
      for (const part of ['mean', 'variance'] as const) {
        closeTo(t, await together[part].data(), await apart[part].data(), tolerance.elementwise, `running ${part}`);
      }
    }
  });

  if (shape.length === 2) continue;

  eachDevice(test, `kalmanNorm: prior, sample and gain of each channel, ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        ...layer(random, shape),
        ...prior(random, c),
        gains: random.uniforms([shape[1]!], 0.05, 0.95),
        z: noise(random, c),
      },
      run: ({ x, gamma, beta, priorMean, priorVar, gains, z }) =>
        outputs(
          kalmanNorm(
            x,
            new Belief(priorMean, priorVar, splits),
            { gamma, beta },
            { ...common, gain: gains, sample: z },
          ),
        ),
      reference: ({ x, gamma, beta, priorMean, priorVar, gains, z }, hold) => {
        const given = { mean: priorMean, variance: priorVar };
        const options = { ...common, gain: gains, gamma, beta, prior: given, noise: z };
        return expected(kalman.kalmanNorm(x, options, hold));
      },
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `kalmanNorm: without a prior, with a sample, ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { ...layer(random, shape), z: noise(random, c) },
      run: ({ x, gamma, beta, z }) => outputs(kalmanNorm(x, null, { gamma, beta }, { ...common, sample: z })),
      reference: ({ x, gamma, beta, z }, hold) =>
        expected(kalman.kalmanNorm(x, { ...common, gamma, beta, prior: null, noise: z }, hold)),
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `kalmanNorm: carried, with a sample, ${title}`, async (t, device, random) => {
    const [real, ...rest] = shape as [number, ...number[]];
    await checkOp(t, device, random, () => ({
      inputs: { ...layer(random, [real + splits, ...rest]), z: noise(random, c) },
      run: ({ x, gamma, beta, z }) => outputs(kalmanNorm(x, 'carried', { gamma, beta }, { ...common, sample: z })),
      reference: ({ x, gamma, beta, z }, hold) =>
        expected(kalman.carriedKalmanNorm(x, { ...common, gamma, beta, noise: z }, hold)),
      tolerance: tolerance.normalization,
    }));
  });
}

eachDevice(test, 'kalmanNorm: carried without a sample and without gamma and beta', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([6, 5, 4, 3]) },
    run: ({ x }) => outputs(kalmanNorm(x, 'carried', { gamma: null, beta: null }, { splits: 2, gain: 0.3 })),
    reference: ({ x }, hold) => expected(kalman.carriedKalmanNorm(x, { splits: 2, gain: 0.3 }, hold)),
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'kalmanNorm: its input is used elsewhere too, so gradients add', async (t, device, random) => {
  const c: Case = { shape: [4, 12, 3, 5], splits: 2 };
  const options = { splits: 2, gain: 0.1, relu: true };
  await checkOp(t, device, random, () => ({
    inputs: { ...layer(random, c.shape), ...prior(random, c) },
    run: ({ x, gamma, beta, priorMean, priorVar }) => {
      const doubled = scale(x, 2);
      const { output } = kalmanNorm(doubled, new Belief(priorMean, priorVar, 2), { gamma, beta }, options);
      return [add(output, doubled)];
    },
    reference: ({ x, gamma, beta, priorMean, priorVar }, hold) => {
      const doubled = map(x, (value) => 2 * value);
      const given = { mean: priorMean, variance: priorVar };
      return [
        reference.add(kalman.kalmanNorm(doubled, { ...options, gamma, beta, prior: given }, hold).output, doubled),
      ];
    },
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'kalmanNorm: without a prior it is batch normalization, bit for bit', async (t, device, random) => {
  const { x, gamma, beta } = layer(random, [6, 12, 5, 3]);
  const [input, scaling, shift] = [x, gamma, beta].map((a) => device.tensor(Float32Array.from(a.data), a.shape));
  const affine = { gamma: scaling!, beta: shift! };
  const kn = kalmanNorm(input!, null, affine, { splits: 3, gain: 0.1, relu: true });
  const bn = batchNorm(input!, affine, { splits: 3, relu: true });
  t.is(bits(await kn.output.data()), bits(await bn.output.data()));
});

interface GuardCase {
  title: string;
  spoil: (priorVar: NdArray, x: NdArray) => void;
  guard?: number;
  used: boolean;
  /** The smallest step of a variance lands on the guard's other side: nothing to differentiate. */
  brittle?: boolean;
}

const guards: GuardCase[] = [
  { title: 'just below the guard', spoil: () => {}, guard: 1.05, used: true },
  { title: 'just above the guard', spoil: () => {}, guard: 0.95, used: false },
  { title: 'one huge prior variance', spoil: (v) => v.data.fill(1e9, 3, 4), used: false },
  { title: 'NaN in the prior', spoil: (v) => v.data.fill(Number.NaN, 0, 1), used: false },
  { title: 'infinite prior', spoil: (v) => v.data.fill(Number.POSITIVE_INFINITY, 2, 3), used: false },
  { title: 'a channel of variance 0: infinite ratio', spoil: (_, x) => x.data.fill(2, 0, 12), used: false },
  {
    title: 'prior and batch variance 0: ratio NaN',
    spoil: (v, x) => {
      x.data.fill(2, 0, 12);
      v.data.fill(0, 0, 1);
    },
    used: false,
    brittle: true,
  },
];

for (const { title, spoil, guard = 100, used, brittle = false } of guards) {
  eachDevice(test, `kalmanNorm: guard, ${title}`, async (t, device, random) => {
    const c: Case = { shape: [2, 5, 3, 4], splits: 2 };
    await checkOp(t, device, random, () => {
      const inputs = { ...layer(random, c.shape), ...prior(random, c) };
      // A prior variance that is exactly the batch's: the ratio is 1 up to rounding.
      inputs.priorVar = map(reference.moments(inputs.x, c.splits).variance, Math.fround);
      spoil(inputs.priorVar, inputs.x);
      const options = { splits: 2, gain: 0.2, guard };
      const { x, priorVar, ...rest } = inputs;
      return {
        inputs: { ...rest, x: { ...x, constant: brittle }, priorVar: { ...priorVar, constant: brittle } },
        run: ({ x, gamma, beta, priorMean, priorVar }) => {
          const result = kalmanNorm(x, new Belief(priorMean, priorVar, 2), { gamma, beta }, options);
          return [result.output, result.posterior.mean, result.posterior.variance, result.ratio];
        },
        reference: ({ x, gamma, beta, priorMean, priorVar }, hold) => {
          const given = { mean: priorMean, variance: priorVar };
          const result = kalman.kalmanNorm(x, { ...options, gamma, beta, prior: given }, hold);
          t.is(result.used, used);
          const { output, posterior, ratio } = result;
          return [output, posterior.mean, posterior.variance, vector([ratio, used ? 1 : 0])];
        },
        tolerance: tolerance.normalization,
      };
    });
  });
}

eachDevice(test, 'update: the posterior alone, with its gradients', async (t, device, random) => {
  const c: Case = { shape: [4, 12, 3, 3], splits: 2 };
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals(c.shape, 0.5), ...prior(random, c), gains: random.uniforms([12], 0.1, 0.9) },
    run: ({ x, priorMean, priorVar, gains }) => {
      const posterior = update(x, new Belief(priorMean, priorVar, 2), { splits: 2, gain: gains });
      return [posterior.mean, posterior.variance];
    },
    reference: ({ x, priorMean, priorVar, gains }, hold) => {
      const given = { mean: priorMean, variance: priorVar };
      const { posterior } = kalman.kalmanNorm(x, { splits: 2, gain: gains, prior: given }, hold);
      return [posterior.mean, posterior.variance];
    },
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'update: without a prior the batch statistics, unbiased, off the tape', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([4, 3, 2, 3]) },
    run: ({ x }) => {
      const posterior = update(x, null, { splits: 2, gain: 0.1 });
      t.is(posterior.mean.node, null);
      return [posterior.mean, posterior.variance];
    },
    reference: ({ x }) => {
      const { mean, variance } = reference.moments(x, 2);
      return [mean, map(variance, (v) => (v * 12) / 11)];
    },
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'addBeliefs: beliefs of other sizes are refused', (t, device) => {
  const belief = (length: number, splits: number) => new Belief(device.zeros([length]), device.ones([length]), splits);
  for (const [other, message] of [
    [belief(12, 3), 'addBeliefs: expected 2 splits, got 3'],
    [belief(2, 2), 'addBeliefs: expected 6 channels, got 1'],
  ] as const) {
    t.throws(() => addBeliefs(belief(12, 2), other), { code: 'SHAPE_MISMATCH', message });
  }
});

eachDevice(test, 'addBeliefs: means and variances add', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { a: random.normals([10]), b: random.normals([10]), v: random.uniforms([10], 0, 2) },
    run: ({ a, b, v }) => {
      const sum = addBeliefs(new Belief(a, v, 2), new Belief(b, v, 2));
      return [sum.mean, sum.variance];
    },
    reference: ({ a, b, v }) => [reference.add(a, b), reference.add(v, v)],
    tolerance: tolerance.exact,
  }));
});

test('reference: the carried form is the moments of the tail as prior', (t) => {
  const x = ndarray([3, 1, 1, 2], [1, 2, 3, 4, 7, 9]);
  const hold = <T>(value: T) => value;
  const given = reference.moments(slice(x, 2, 3), 1);
  const apart = kalman.kalmanNorm(slice(x, 0, 2), { splits: 1, gain: 0.1, prior: given }, hold);
  t.deepEqual(kalman.carriedKalmanNorm(x, { splits: 1, gain: 0.1 }, hold), apart);
  // By hand: mu 2.5, var 1.25, prior 8 and 1, p 0.9.
  t.true(Math.abs(apart.posterior.mean.data[0]! - 7.45) < 1e-12);
  t.true(Math.abs(apart.posterior.variance.data[0]! - (0.9 + 0.125 + 0.09 * 5.5 ** 2)) < 1e-12);
});
