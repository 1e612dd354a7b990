import test from 'ava';
import { adaptiveKalmanNorm, addBeliefs, Belief, backward, filterRows } from '../../lib/index.js';
import { map, type NdArray, ndarray } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import type { TestRandom } from '../support/random.js';
import * as reference from '../support/reference-adaptive.js';

interface Case {
  shape: readonly number[];
  splits: number;
  relu?: boolean;
  gain?: number | 'adaptive';
  prior?: boolean;
  /** Whether it is the first step, in which all of the state is zero; or is that of every other channel. */
  first?: boolean | 'some';
  observationGradient?: number | 'auto';
  correction?: number;
  /** Whether a normalization before has seen the stream in this step. */
  upstream?: boolean;
}

const cases: Case[] = [
  { shape: [3, 5, 7, 3], splits: 1 },
  { shape: [3, 5, 7, 3], splits: 1, first: true },
  { shape: [4, 12, 5, 3], splits: 2, relu: true, first: true },
  { shape: [8, 24, 3, 2], splits: 4, relu: true },
  { shape: [128, 3, 3, 3], splits: 64, relu: true },
  { shape: [128, 3, 3, 3], splits: 64, first: true },
  { shape: [64, 8, 2, 3], splits: 32, relu: true, prior: false },
  { shape: [6, 8, 2, 3], splits: 3, first: true, prior: false },
  { shape: [2, 16, 9, 11], splits: 1, gain: 0, observationGradient: 0 },
  // More rows than a task of the CPU, or a chunk of a GPU, takes.
  { shape: [6, 9, 80, 60], splits: 2 },
  { shape: [4, 8, 70, 60], splits: 2, first: 'some' },
  // Several slabs of channels.
  { shape: [6, 40, 3, 3], splits: 3, first: 'some', relu: true },
  { shape: [6, 37, 3, 3], splits: 3, first: 'some', upstream: true },
  { shape: [3, 1, 5, 5], splits: 3, gain: 0, observationGradient: 1 },
  { shape: [4, 8, 3, 3], splits: 2, gain: 1, correction: 0 },
  { shape: [4, 8, 3, 3], splits: 4, gain: 0.3, correction: 0, first: true },
  { shape: [12, 5], splits: 2, observationGradient: 'auto' },
  { shape: [5, 8, 4, 3], splits: 5, observationGradient: 'auto' },
  { shape: [6, 12, 4, 3], splits: 3, upstream: true },
  { shape: [5, 7, 3, 3], splits: 1, relu: true, upstream: true },
  { shape: [6, 8, 2, 3], splits: 3, first: true, upstream: true },
  { shape: [12, 5], splits: 4, gain: 0.2, upstream: true },
];

type Name = 'x' | 'gamma' | 'beta' | 'priorMean' | 'priorVar' | 'state' | 'before' | 'runningMean' | 'runningVar';

/** A state as some steps of training leave it. */
function stateOf(random: TestRandom, channels: number, first: boolean | 'some'): NdArray {
  const state = ndarray([filterRows.length, channels]);
  if (first === true) return state;
  const ranges = [
    [-0.5, 0.5],
    [-0.5, 0.8],
    [-0.01, 0.05],
    [0.01, 0.2],
    [-0.01, 0.05],
    [0.01, 0.2],
    [-0.2, 0.2],
    [-0.3, 0.3],
  ] as const;
  ranges.forEach(([from, to], row) => {
    state.data.set(random.uniforms([channels], from, to).data, row * channels);
  });
  state.data.fill(5, 8 * channels, 9 * channels);
  state.data.set(random.uniforms([channels], -0.3, 0.1).data, 9 * channels);
  state.data.set(random.uniforms([channels], -0.2, 0.2).data, 10 * channels);
  state.data.set(random.uniforms([channels], -0.2, 0.4).data, 11 * channels);
  if (first === 'some') return { ...state, data: state.data.map((value, i) => ((i % channels) % 2 === 0 ? 0 : value)) };
  return state;
}

for (const c of cases) {
  const { shape, splits, relu = false, gain = 'adaptive', prior = true, first = false } = c;
  const { observationGradient = 0.4, correction = 0.1, upstream = false } = c;
  const title = [
    `[${shape}] in ${splits}, gain ${gain}`,
    relu && 'relu',
    !prior && 'no prior',
    first && (first === 'some' ? 'first step of some' : 'first step'),
    upstream && 'in a stream',
  ].filter(Boolean);
  const options = { splits, gain, correction, adaptation: 0.2, gate: 3, momentum: 0.15, observationGradient, relu };
  const channels = shape[1]!;

  eachDevice(test, `adaptiveKalmanNorm: ${title.join(', ')}`, async (t, device, random) => {
    await checkOp<Name>(t, device, random, () => ({
      inputs: {
        x: random.normals(shape, 0.3, 1.2),
        gamma: random.normals([channels], 1, 0.3),
        beta: random.normals([channels], 0, 0.5),
        priorMean: { ...random.normals([channels], 0.3, 0.3), constant: !prior },
        priorVar: { ...random.uniforms([channels], 0.4, 2), constant: !prior },
        state: { ...stateOf(random, channels, first), constant: true },
        before: { ...stateOf(random, channels, false), constant: true },
        runningMean: { ...random.normals([channels]), constant: true },
        runningVar: { ...random.uniforms([channels], 0.5, 2), constant: true },
      },
      run: ({ x, gamma, beta, priorMean, priorVar, state, before, runningMean, runningVar }) => {
        const running = { mean: runningMean, variance: runningVar };
        const stream = upstream ? { filter: before, corrections: 4 } : null;
        const given = prior ? new Belief(priorMean, priorVar, 1, false, stream) : null;
        const layer = { filter: state, running };
        const { output, normalized, belief } = adaptiveKalmanNorm(x, given, { gamma, beta }, layer, options);
        t.is(normalized!.mean, beta);
        t.is(normalized!.rectified, relu);
        return [output, normalized!.variance, belief.mean, belief.variance, state, runningMean, runningVar];
      },
      reference: ({ x, gamma, beta, priorMean, priorVar, state, before, runningMean, runningVar }, hold) => {
        const given = prior ? { mean: priorMean, variance: priorVar } : null;
        const running = { mean: runningMean, variance: runningVar };
        const share = observationGradient === 'auto' ? 1 - splits / shape[0]! : observationGradient;
        const seen = upstream ? before : null;
        const filter = {
          ...options,
          observationGradient: share,
          gamma,
          beta,
          prior: given,
          state,
          upstream: seen,
          running,
        };
        const result = reference.adaptiveKalmanNorm(x, filter, hold);
        return [
          result.output,
          map(gamma, (value) => value * value),
          result.belief.mean,
          result.belief.variance,
          result.state,
          result.running.mean,
          result.running.variance,
        ];
      },
      tolerance: tolerance.normalization,
      // The prior's gradient sums what all splits give, and may cancel.
      gradientTolerance: tolerance.normalization + tolerance.sum(splits),
    }));
  });
}

eachDevice(
  test,
  'adaptiveKalmanNorm: a channel among more than a GPU has counters for comes to what it does among few',
  async (t, device, random) => {
    const [samples, all, pixels] = [8, 16_500, 2];
    const normals = (rows: number, each = 1) => random.normals([rows, all, each]);
    const given = {
      x: normals(samples, pixels),
      dy: normals(samples, pixels),
      gamma: normals(1),
      beta: normals(1),
      priorMean: normals(1),
      priorVar: random.uniforms([1, all, 1], 0.4, 2),
      filter: stateOf(random, all, 'some'),
    };
    /** Channels of an array [rows, all] of one or several values each. */
    const partOf = (data: ArrayLike<number>, rows: number, first: number, count: number) => {
      const each = data.length / (rows * all);
      return Float32Array.from({ length: rows * count * each }, (_, i) => {
        const row = Math.floor(i / (count * each));
        return data[(row * all + first) * each + (i % (count * each))] as number;
      });
    };
    const run = async (first: number, count: number) => {
      const part = ({ data, shape: [rows = 1] }: NdArray) => partOf(data, rows, first, count);
      const vector = (values: NdArray) => device.tensor(part(values), [count], { requiresGrad: true });
      const x = device.tensor(part(given.x), [samples, count, pixels, 1], { requiresGrad: true });
      const [gamma, beta, mean, variance] = [given.gamma, given.beta, given.priorMean, given.priorVar].map(vector);
      const filter = device.tensor(part(given.filter), [filterRows.length, count]);
      const running = { mean: device.zeros([count]), variance: device.ones([count]) };
      const affine = { gamma: gamma!, beta: beta! };
      const prior = new Belief(mean!, variance!, 1);
      const { output } = adaptiveKalmanNorm(x, prior, affine, { filter, running }, { splits: 2 });
      backward([output], [device.tensor(part(given.dy), x.shape)]);
      const leaves = [x, gamma, beta, mean, variance].map((leaf) => leaf!.grad!);
      const results = [output, filter, running.mean, running.variance, ...leaves];
      return Promise.all(
        results.map(async (result) => ({
          data: (await result.data()) as Float32Array,
          rows: result.shape.length > 1 ? (result.shape[0] as number) : 1,
        })),
      );
    };
    const wide = await run(0, all);
    // A GPU's slabs are of 16 channels, and 1024 of them have counters of their own.
    for (const [first, count] of [
      [0, 48],
      [16_384, 116],
    ] as const) {
      const narrow = await run(first, count);
      for (const [i, { data, rows }] of narrow.entries()) {
        t.is(bits(data), bits(partOf(wide[i]!.data, rows, first, count)), `result ${i} of channels from ${first} on`);
      }
    }
  },
);

eachDevice(test, 'adaptiveKalmanNorm: what is not finite moves neither state nor averages', async (t, device) => {
  const x = new Float32Array(4 * 2 * 3 * 3).map((_, i) => Math.sin(i));
  x[5] = Number.NaN; // sample 0, channel 0
  const state = device.zeros([filterRows.length, 2]);
  const running = { mean: device.zeros([2]), variance: device.ones([2]) };
  const images = device.tensor(x, [4, 2, 3, 3]);
  const { output } = adaptiveKalmanNorm(
    images,
    null,
    { gamma: null, beta: null },
    { filter: state, running },
    {
      splits: 2,
    },
  );
  const values = await state.data();
  for (let row = 0; row < filterRows.length; row++) t.is(values[row * 2], 0, `channel 0, ${filterRows[row]}`);
  t.is(values[8 * 2 + 1], 1, 'the other channel has made its step');
  t.is((await running.mean.data())[0], 0);
  t.is((await running.variance.data())[0], 1);
  t.true([...(await output.data())].some(Number.isNaN), 'the output shows it');
});

eachDevice(
  test,
  'adaptiveKalmanNorm: splits one at a time filter as the pooled form does',
  async (t, device, random) => {
    // A population with a known offset from its prior: both forms must find the same correction and noise.
    const [splits, channels, steps] = [16, 3, 40];
    const affine = { gamma: null, beta: null };
    const fresh = () => ({
      filter: device.zeros([filterRows.length, channels]),
      running: { mean: device.zeros([channels]), variance: device.ones([channels]) },
    });
    const [pooled, single] = [fresh(), fresh()];
    const prior = new Belief(device.zeros([channels]), device.ones([channels]), 1);
    const one = (momentum: number) => 1 - (1 - momentum) ** (1 / splits);
    for (let step = 0; step < steps; step++) {
      const x = random.normals([2 * splits, channels, 4, 4], 0.4, 1.5);
      const all = device.tensor(Float32Array.from(x.data), x.shape);
      adaptiveKalmanNorm(all, prior, affine, pooled, { splits });
      const size = x.data.length / splits;
      for (let s = 0; s < splits; s++) {
        const split = device.tensor(Float32Array.from(x.data.slice(s * size, (s + 1) * size)), [2, channels, 4, 4]);
        const momenta = { correction: one(0.1), adaptation: one(0.1), momentum: one(0.1) };
        adaptiveKalmanNorm(split, prior, affine, single, momenta);
      }
    }
    const [a, b] = [await pooled.filter.data(), await single.filter.data()];
    for (let c = 0; c < channels; c++) {
      // Averages over about 10 steps of 16 splits of 32 values each: offsets agree within some standard errors.
      t.true(Math.abs(a[c]! - b[c]!) < 0.1, `offset ${a[c]} and ${b[c]}`);
      t.true(
        Math.abs(a[channels + c]! - b[channels + c]!) < 0.1,
        `log ratio ${a[channels + c]} and ${b[channels + c]}`,
      );
      for (const row of [3, 5]) {
        const [p, q] = [a[row * channels + c]!, b[row * channels + c]!];
        t.true(q > p / 2 && q < 2 * p, `${filterRows[row]}: ${p} and ${q}`);
      }
    }
  },
);

eachDevice(
  test,
  'adaptiveKalmanNorm: what a whole stream shows is corrected by the first four of its normalizations, not by all',
  async (t, device, random) => {
    const [depth, free, channels, correction] = [24, 4, 5, 0.2];
    const states = Array.from({ length: depth }, () => ({
      filter: device.zeros([filterRows.length, channels]),
      running: { mean: device.zeros([channels]), variance: device.ones([channels]) },
    }));
    const affine = { gamma: null, beta: null };
    const nothing = new Belief(device.zeros([channels]), device.zeros([channels]), 1);
    const start = new Belief(device.zeros([channels]), device.ones([channels]), 1);
    const images = random.normals([8, channels, 5, 5]);
    /** The last normalization's belief of a stream that nothing is added to. */
    const step = async (shift: number, factor: number) => {
      const x = device.tensor(
        Float32Array.from(images.data, (value) => factor * value + shift),
        images.shape,
      );
      const options = { splits: 4, correction, gain: 0 };
      const last = states.reduce(
        (prior, state) => addBeliefs(adaptiveKalmanNorm(x, prior, affine, state, options).belief, nothing),
        start,
      );
      return [await last.mean.data(), await last.variance.data()] as const;
    };
    await step(0, 1); // The first step's own statistics are its belief.
    const [mean, variance] = await step(0.5, 1.5);
    const [movedMean, movedVariance] = await step(0.5, 1.5);
    // By half of the second step's innovation each, as of two steps each has its half; offsets are in deviations of the prior.
    const halves = Array.from({ length: free }, (_, before) => 1.5 ** (before / 2)).reduce((sum, each) => sum + each);
    for (let c = 0; c < channels; c++) {
      const sigma = Math.sqrt(variance[c]!);
      const target = 1.5 * mean[c]! + 0.5; // of the images' own mean, which the first step has taught
      near(movedMean[c]!, mean[c]! + ((target - mean[c]!) * halves) / 2, 1e-3 * sigma, `mean of channel ${c}`);
      // By its logarithm, of which 1.5 is a half.
      near(movedVariance[c]!, variance[c]! * 1.5 ** free, 1e-3 * variance[c]!, `variance of channel ${c}`);
    }
    function near(value: number, expected: number, by: number, what: string) {
      t.true(Math.abs(value - expected) < by, `${what}: ${value}, expected ${expected}`);
    }
  },
);

eachDevice(test, 'adaptiveKalmanNorm: bad arguments', (t, device) => {
  const x = device.zeros([4, 2, 3, 3]);
  const state = () => ({
    filter: device.zeros([filterRows.length, 2]),
    running: { mean: device.zeros([2]), variance: device.ones([2]) },
  });
  const affine = { gamma: null, beta: null };
  const two = new Belief(device.zeros([4]), device.ones([4]), 2);
  const stream = { filter: device.zeros([filterRows.length, 1]), corrections: 4 };
  const narrower = new Belief(device.zeros([2]), device.ones([2]), 1, false, stream);
  const faults = [
    [() => adaptiveKalmanNorm(x, two, affine, state()), /one Gaussian belief for all splits, got 2/],
    [() => adaptiveKalmanNorm(x, null, affine, state(), { gain: 1.5 }), /gain must be "adaptive" or between 0 and 1/],
    [() => adaptiveKalmanNorm(x, null, affine, state(), { gain: Number.NaN }), /gain must be/],
    [() => adaptiveKalmanNorm(x, null, affine, state(), { correction: -1 }), /correction must be between 0 and 1/],
    [() => adaptiveKalmanNorm(x, null, affine, state(), { gate: 0 }), /gate must be a positive number/],
    [() => adaptiveKalmanNorm(x, null, affine, state(), { splits: 3 }), /can't be cut into 3 equal parts/],
    [
      () => adaptiveKalmanNorm(x, null, affine, { ...state(), filter: device.zeros([10, 2]) }),
      /state must have shape \[12, 2\], got \[10, 2\]/,
    ],
    [
      () => adaptiveKalmanNorm(x, new Belief(device.zeros([3]), device.ones([3]), 1), affine, state()),
      /prior.mean must have shape \[2\], got \[3\]/,
    ],
    [() => adaptiveKalmanNorm(x, narrower, affine, state()), /upstream must have shape \[12, 2\], got \[12, 1\]/],
  ] as const;
  for (const [call, message] of faults) t.throws(call, { message });
});

eachDevice(test, 'adaptiveKalmanNorm: the same bits each time', async (t, device, random) => {
  const x = random.normals([8, 5, 6, 6]);
  const run = async () => {
    const filter = device.zeros([filterRows.length, 5]);
    const running = { mean: device.zeros([5]), variance: device.ones([5]) };
    const images = device.tensor(Float32Array.from(x.data), x.shape);
    const state = { filter, running };
    const affine = { gamma: null, beta: null };
    for (let i = 0; i < 3; i++) adaptiveKalmanNorm(images, null, affine, state, { splits: 4 }).output.dispose();
    return bits(await filter.data());
  };
  t.is(await run(), await run());
});
