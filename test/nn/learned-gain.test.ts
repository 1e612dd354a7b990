import test from 'ava';
import {
  Belief,
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  DeviceRandom,
  type Module,
  ReferenceKalmanNorm2d,
  type ReferenceKalmanNormOptions,
  Sgd,
  scope,
  type Tensor,
} from '../../lib/index.js';
import { map, type NdArray, vector } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { closeTo, ROUNDOFF, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { checkLossSlope } from '../support/loss-slope.js';
import { TestRandom } from '../support/random.js';
import * as kalman from '../support/reference-kalman.js';

const upload = (device: Device, x: NdArray) => device.tensor(Float32Array.from(x.data), x.shape);
const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));

interface Case {
  /** Of the real samples. */
  shape: readonly [number, number, number, number];
  splits: number;
  relu?: boolean;
  /** With virtual samples in front and behind, as in the blocks of the sampled transition. */
  carried?: boolean;
}

const cases: Case[] = [
  { shape: [3, 5, 4, 3], splits: 1 },
  { shape: [4, 12, 3, 5], splits: 2, relu: true },
  { shape: [8, 8, 3, 2], splits: 4, relu: true, carried: true },
];

function priorOf(random: TestRandom, { shape, splits }: Case) {
  const cells = [splits * shape[1]];
  return { priorMean: random.normals(cells, 0.3, 0.7), priorVar: random.uniforms(cells, 0.4, 2) };
}

for (const c of cases) {
  const { shape, splits, relu = false, carried = false } = c;
  const [real, channels, height, width] = shape;
  const title = `[${shape}] in ${splits}${carried ? ', carried' : ''}`;

  eachDevice(test, `learned gain: all gradients, ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals([carried ? real + splits : real, channels, height, width], 0.3, 1.2),
        ...priorOf(random, c),
        gamma: random.normals([channels], 1, 0.3),
        beta: random.normals([channels], 0, 0.5),
        // Gains from 0.02 to 0.98.
        logit: random.uniforms([channels], -4, 4),
        z: { ...random.normals([splits, channels, height, width]), constant: true },
        ...(carried && {
          priorMean: { ...vector([0]), constant: true },
          priorVar: { ...vector([0]), constant: true },
        }),
      },
      run: ({ x, priorMean, priorVar, gamma, beta, logit, z }) => {
        const norm = new ReferenceKalmanNorm2d(device, channels, { splits, relu, gain: 'learned' });
        Object.assign(norm, { gamma, beta, gainLogit: logit });
        const prior = carried ? 'carried' : new Belief(priorMean, priorVar, splits);
        const { output, posterior } = norm.step(x, prior, carried ? z : null);
        return [output, posterior!.mean, posterior!.variance];
      },
      reference: ({ x, priorMean, priorVar, gamma, beta, logit, z }, hold) => {
        const options = { splits, relu, gamma, beta, gain: map(logit, sigmoid) };
        const { output, posterior } = carried
          ? kalman.carriedKalmanNorm(x, { ...options, noise: z }, hold)
          : kalman.kalmanNorm(x, { ...options, prior: { mean: priorMean, variance: priorVar } }, hold);
        return [output, posterior.mean, posterior.variance];
      },
      tolerance: tolerance.normalization,
    }));
  });

  if (carried) continue;

  eachDevice(test, `learned gain: at the start as the fixed one, ${title}`, async (t, device, random) => {
    const x = upload(device, random.normals(shape, 0.3, 1.2));
    const { priorMean, priorVar } = priorOf(random, c);
    for (const value of [0.1, 0.5, 0.93]) {
      const run = async (options: ReferenceKalmanNormOptions) => {
        const norm = new ReferenceKalmanNorm2d(device, channels, { splits, relu, ...options });
        const prior = new Belief(upload(device, priorMean), upload(device, priorVar), splits);
        const { output, posterior } = norm.step(x, prior);
        return Promise.all(
          [output, posterior!.mean, posterior!.variance, norm.runningMean].map((tensor) => tensor.data()),
        );
      };
      const learned = await run({ gain: 'learned', initialGain: value });
      const fixed = await run({ gain: value });
      // The logit and the sigmoid are rounded; what the gain weighs is of the size of the results.
      for (const [i, values] of learned.entries()) closeTo(t, values, fixed[i]!, tolerance.elementwise, `result ${i}`);
    }
  });
}

eachDevice(test, 'learned gain: starts at 0.1, or at initialGain', async (t, device) => {
  const gains = async (options: ReferenceKalmanNormOptions) => {
    const { gainLogit } = new ReferenceKalmanNorm2d(device, 3, { gain: 'learned', ...options });
    t.deepEqual(gainLogit!.shape, [3]);
    return Array.from(await gainLogit!.data(), sigmoid);
  };
  for (const value of [0.1, 1e-3, 0.5, 0.999]) {
    for (const gain of await gains(value === 0.1 ? {} : { initialGain: value })) {
      // The logit, at most 7, is rounded; the gain changes by no more than value·(1 - value) times that.
      t.true(Math.abs(gain - value) <= 7 * ROUNDOFF * value * (1 - value) * (1 + 1e-6), `${gain} for ${value}`);
    }
  }
});

eachDevice(test, 'learned gain: no gradient, and no harm, where the prior is not used', async (t, device, random) => {
  const c: Case = { shape: [4, 5, 3, 4], splits: 2 };
  const x = upload(device, random.normals(c.shape));
  const { priorMean, priorVar } = priorOf(random, c);
  const norm = new ReferenceKalmanNorm2d(device, 5, { splits: 2, gain: 'learned', guard: 10 });
  const gradientWith = async (prior: Belief | null) => {
    norm.zeroGrad();
    const { output, posterior } = norm.step(x, prior);
    const seed = upload(device, random.normals(c.shape));
    const vectors = prior ? [posterior!.mean, posterior!.variance] : [];
    backward([output, ...vectors], [seed, ...vectors.map(() => device.ones([10]))]);
    return [...(await norm.gainLogit!.grad!.data())];
  };
  const belief = (variance: NdArray) => new Belief(upload(device, priorMean), upload(device, variance), 2);
  const zeros = [0, 0, 0, 0, 0];

  t.true((await gradientWith(belief(priorVar))).every((value) => value !== 0 && Number.isFinite(value)));
  t.is((await norm.lastRatio!.data())[1], 1);
  for (const [title, spoiled] of [
    ['too large', 1e6],
    ['infinite', Number.POSITIVE_INFINITY],
    ['NaN', Number.NaN],
  ] as const) {
    const variance = map(priorVar, (value, i) => (i === 3 ? spoiled : value));
    t.deepEqual(await gradientWith(belief(variance)), zeros, `prior variance ${title}`);
    t.is((await norm.lastRatio!.data())[1], 0);
  }
  t.deepEqual(await gradientWith(null), zeros, 'no prior');
});

eachDevice(test, 'learned gain: a parameter of its layer', async (t, device) => {
  const learned = new ReferenceKalmanNorm2d(device, 4, { gain: 'learned', initialGain: 0.3 });
  t.is(learned.gain, 'learned');
  t.deepEqual([...learned.namedParameters().keys()].sort(), ['beta', 'gainLogit', 'gamma']);
  t.true(learned.stateDict().has('gainLogit'));
  t.true(learned.gainLogit!.requiresGrad);

  const other = new ReferenceKalmanNorm2d(device, 4, { gain: 'learned' });
  t.notDeepEqual(await other.gainLogit!.data(), await learned.gainLogit!.data());
  other.loadStateDict(await learned.stateValues());
  t.deepEqual(await other.gainLogit!.data(), await learned.gainLogit!.data());
  const fixed = new ReferenceKalmanNorm2d(device, 4, {});
  const values = await learned.stateValues();
  t.throws(() => fixed.loadStateDict(values), { code: 'STATE_MISMATCH', message: /gainLogit/ });
});

eachDevice(test, 'gain: fixed by default', (t, device) => {
  const norm = new ReferenceKalmanNorm2d(device, 4);
  t.is(norm.gain, 0.1);
  t.is(norm.gainLogit, null);
  t.deepEqual([...norm.namedParameters().keys()].sort(), ['beta', 'gamma']);
});

eachDevice(test, 'gain: wrong options', (t, device) => {
  const fails = (options: object, message: RegExp) =>
    t.throws(() => new ReferenceKalmanNorm2d(device, 4, options), { code: 'INVALID_ARGUMENT', message });
  for (const gain of [-0.1, 1.1, Number.NaN, 'learnt']) fails({ gain }, /gain must be/);
  for (const initialGain of [0, 1, -1, 2, Number.NaN]) fails({ gain: 'learned', initialGain }, /initialGain/);
  for (const guard of [0, -1, Number.NaN]) fails({ gain: 'learned', guard }, /guard/);
});

eachDevice(test, 'learned gain: weight decay leaves it alone', async (t, device, random) => {
  const norm = new ReferenceKalmanNorm2d(device, 5, { gain: 'learned', initialGain: 0.3, guard: 1e-3 });
  const optimizer = new Sgd(device, norm.namedParameters(), 0.5, { weightDecay: 0.5 });
  const before = await norm.gainLogit!.data();
  // The guard drops the prior, so the gradient is 0 and only a penalty could move the gain.
  const prior = new Belief(device.zeros([5]), device.ones([5]), 1);
  const { output } = norm.step(upload(device, random.normals([4, 5, 3, 3])), prior);
  backward(output, upload(device, random.normals([4, 5, 3, 3])));
  optimizer.step();
  t.deepEqual(await norm.gainLogit!.data(), before);
  t.is(await optimizer.penalty(), 0);
  optimizer.dispose();
});

function gains(model: Module): [string, Tensor][] {
  return [...model.namedParameters()].filter(([name]) => name.endsWith('gainLogit'));
}

const [BATCH, SPLITS, SIDE] = [8, 4, 8];

function network(device: Device, transition: 'analytic' | 'sampled') {
  const random = new TestRandom('network', 1);
  const norm = { type: 'reference-kalman', splits: SPLITS, gain: 'learned', initialGain: 0.3, transition } as const;
  const model = new CifarResNet(device, { n: 1, norm, seed: 3 });
  const images = upload(device, random.normals([BATCH, 3, SIDE, SIDE]));
  const labels = device.tensor(Int32Array.from({ length: BATCH }, () => random.below(10)));
  const noise = new DeviceRandom(device, 5);
  const lossOf = () => {
    // Each time the same noise.
    noise.seek(0);
    return crossEntropy(model.forward(images, transition === 'sampled' ? noise : null), labels).loss;
  };
  return { model, lossOf };
}

/**
 * Along its own gradient g, the loss of a parameter changes by |g| a unit. The step moves the loss by ±CHANGE: against
 * that float32's noise in the loss (of about 3, so 5e-7 of two roundings) is 0.3 %. What else is seen is values that
 * cross a ReLU's kink: it falls with the step, and was 1.3 % at most over several seeds. The seed is fixed.
 */
const CHANGE = 2e-4;
const ALLOWED = 0.02;

for (const transition of ['sampled', 'analytic'] as const) {
  eachDevice(test, `learned gain: in a network with the ${transition} transition`, async (t, device) => {
    const { model, lossOf } = network(device, transition);
    const all = gains(model);
    t.deepEqual(
      all.map(([name]) => name),
      [
        'norm0',
        'stage1.0.norm2',
        'stage2.0.norm1',
        'stage2.0.norm2',
        'stage3.0.norm1',
        'stage3.0.norm2',
        'normLast',
      ].map((name) => `${name}.gainLogit`),
    );
    backward(lossOf());
    // Behind the first layer there is no prior to weigh.
    const [first, ...others] = all;
    t.true((await first![1].grad!.data()).every((value) => value === 0));
    await checkLossSlope(t, others, lossOf, { change: CHANGE, allowed: ALLOWED });

    const before = await Promise.all(all.map(([, parameter]) => parameter.data()));
    const optimizer = new Sgd(device, model.namedParameters(), 0.02, { weightDecay: 1e-4 });
    const start = await lossOf().item();
    for (let i = 0; i < 20; i++) {
      scope(() => {
        model.zeroGrad();
        backward(lossOf());
        optimizer.step();
      });
    }
    const end = await lossOf().item();
    t.true(end < 0.5 * start, `the loss went from ${start} to ${end}`);
    for (const [i, [name, parameter]] of all.entries()) {
      const moved = (await parameter.data()).some((value, k) => value !== before[i]![k]);
      t.is(moved, i > 0, `${name} moves where there is a prior`);
    }
    optimizer.dispose();
    model.dispose();
  });
}
