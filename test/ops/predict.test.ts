import test from 'ava';
import { Belief, backward, type Device, DeviceRandom, openDevice, type Padding, type Tensor } from '../../lib/index.js';
import { predict, propagate, rectifyBelief } from '../../lib/kalman/index.js';
import { type NdArray, vector } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, ROUNDOFF, tolerance } from '../support/compare.js';
import { eachDevice, seeded } from '../support/devices.js';
import { TestRandom } from '../support/random.js';
import { type Sides, samePadding } from '../support/reference.js';
import * as reference from '../support/reference-transition.js';
import { type Geometry, predictAnalytic, rectified, transitionTerms } from '../support/reference-transition.js';

const upload = (device: Device, x: NdArray) => device.tensor(Float32Array.from(x.data), x.shape);

/**
 * Through a 1 x 1 filter of one, an image of two positions: the mean is that of the rectified Gaussian, and the expected
 * variance over the positions half its variance (v + 0 - v/2). Both factors are exact, so what is seen is the rectified
 * Gaussian's moments in float32. The points are splits of one channel, or the channels of one split, which the filter
 * leaves apart.
 */
async function throughIdentity(
  device: Device,
  points: readonly (readonly [mean: number, variance: number])[],
  are: 'splits' | 'channels',
) {
  const vector = (k: 0 | 1) =>
    device.tensor(
      points.map((point) => point[k]),
      [points.length],
      { requiresGrad: true },
    );
  const [mean, variance] = [vector(0), vector(1)];
  const channels = are === 'channels' ? points.length : 1;
  const identity = Array.from({ length: channels ** 2 }, (_, i) => (i % (channels + 1) === 0 ? 1 : 0));
  const filter = device.tensor(identity, [channels, channels, 1, 1], { format: 'filter' });
  const run = () => predict(new Belief(mean, variance, points.length / channels), filter, { height: 1, width: 2 });
  const ones = device.ones([points.length]);
  const gradients = async (output: 'mean' | 'variance') => {
    for (const tensor of [mean, variance]) tensor.zeroGrad();
    backward(run()[output], ones);
    return { byMean: await mean.grad!.data(), byVariance: await variance.grad!.data() };
  };
  const prior = run();
  return {
    mean: await prior.mean.data(),
    halfVariance: await prior.variance.data(),
    ofMean: await gradients('mean'),
    ofHalfVariance: await gradients('variance'),
  };
}

/**
 * The closed forms are evaluated in double, good to 1e-11 or better, and rounded to float32 once: relative to each value
 * and not, as elsewhere, to the largest. Below float32's normal numbers its spacing is 2^-149 (two roundings there: the
 * variance, and half of it).
 */
const ONCE = ROUNDOFF * (1 + 1e-3);
const SPACING = 2 ** -149;

function eachCloseTo(
  t: Parameters<Parameters<typeof eachDevice>[2]>[0],
  actual: ArrayLike<number>,
  expected: readonly number[],
  label: (index: number) => string,
): void {
  const wrong = expected.findIndex((value, i) => !(Math.abs(actual[i]! - value) <= ONCE * Math.abs(value) + SPACING));
  t.is(wrong, -1, wrong < 0 ? '' : `${label(wrong)}: got ${actual[wrong]}, expected ${expected[wrong]}`);
}

/** mean/std from -40 to 40, at standard deviations small and large. */
const grid = [1e-6, 0.02, 1, 37.5].flatMap((std) =>
  Array.from({ length: 161 }, (_, i) => (i - 80) / 2)
    .flatMap((ratio) => [ratio, ratio + 0.173])
    .filter((ratio) => ratio <= 40)
    .map((ratio) => [Math.fround(ratio * std), Math.fround(std * std)] as const),
);
/** Variances so small against the mean that mean² ± variance is mean², even in double. */
const narrow = [1e-4, 1e-3, 1, 3e4].flatMap((mean) =>
  [1e-8, 1e-12, 1e-20, 1e-30, 1e-38, 1e-42].flatMap((variance) => [
    [Math.fround(mean), Math.fround(variance)] as const,
    [Math.fround(-mean), Math.fround(variance)] as const,
  ]),
);

for (const { title, points, are } of [
  { title: 'mean/std from -40 to 40', points: grid, are: 'splits' },
  { title: 'tiny variances', points: narrow, are: 'splits' },
  { title: 'both, of one split', points: [...grid.filter((_, i) => i % 7 === 0), ...narrow], are: 'channels' },
] as const) {
  eachDevice(test, `rectified Gaussian: ${title}, moments and derivatives to a rounding`, async (t, device) => {
    const expected = points.map(([mean, variance]) => rectified(mean, variance));
    const actual = await throughIdentity(device, points, are);
    const at = (name: string) => (i: number) => `${name} of mean ${points[i]![0]}, variance ${points[i]![1]}`;
    const check = (values: ArrayLike<number>, name: string, exact: (r: (typeof expected)[number]) => number) =>
      eachCloseTo(t, values, expected.map(exact), at(name));
    check(actual.mean, 'mean', (r) => r.mean);
    check(actual.halfVariance, 'half the variance', (r) => r.variance / 2);
    check(actual.ofMean.byMean, 'mean by mean', (r) => r.meanByMean);
    check(actual.ofMean.byVariance, 'mean by variance', (r) => r.meanByVariance);
    check(actual.ofHalfVariance.byMean, 'half the variance by mean', (r) => r.varianceByMean / 2);
    check(actual.ofHalfVariance.byVariance, 'half the variance by variance', (r) => r.varianceByVariance / 2);
  });
}

eachDevice(test, 'rectified Gaussian: variance 0 is a point, NaN stays NaN', async (t, device) => {
  const points = [
    [-1, 0],
    [-1e-30, 0],
    [0, 0],
    [1e-30, 0],
    [2.5, 0],
    [Number.NaN, 1],
    [1, Number.NaN],
    [-1, Number.NaN],
  ] as const;
  const actual = await throughIdentity(device, points, 'splits');
  const [tiny, nan] = [Math.fround(1e-30), Number.NaN];
  t.deepEqual([...actual.mean], [0, 0, 0, tiny, 2.5, nan, nan, nan]);
  t.deepEqual([...actual.halfVariance], [0, 0, 0, 0, 0, nan, nan, nan]);
  const five = (values: ArrayLike<number>) => Array.from(values).slice(0, 5);
  t.deepEqual(five(actual.ofMean.byMean), [0, 0, 0, 1, 1]);
  t.deepEqual(five(actual.ofMean.byVariance), [0, 0, 0, 0, 0]);
  t.deepEqual(five(actual.ofHalfVariance.byMean), [0, 0, 0, 0, 0]);
  t.deepEqual(five(actual.ofHalfVariance.byVariance), [0, 0, 0, 0.5, 0.5]);
});

test('reference: the rectified Gaussian at 0 and at 1 standard deviation, and by mirror image', (t) => {
  const near = (actual: number, expected: number) => t.true(Math.abs(actual - expected) < 1e-13 * Math.abs(expected));
  const zero = rectified(0, 4);
  near(zero.mean, 2 / Math.sqrt(2 * Math.PI));
  near(zero.variance, 4 * (0.5 - 0.5 / Math.PI));
  near(rectified(1, 1).mean, 1.0833154705876864);
  near(rectified(1, 1).variance, 0.751087807841609);
  near(rectified(-3, 1).mean, 0.0003821543170477236);
  near(rectified(-10, 1).variance, 1.45292769571198e-25);
  // max(x, 0) - max(-x, 0) = x
  near(rectified(0.7, 2).mean - rectified(-0.7, 2).mean, 0.7);
});

interface Case {
  in: number;
  out: number;
  kernel: readonly [number, number];
  size: readonly [height: number, width: number];
  splits: number;
  stride?: readonly [number, number];
  padding?: Padding;
}

/**
 * Of one split they have 8 channels or more, of one channel 4 splits: gradients are compared relative to the largest, and
 * the terms of a few can all but cancel.
 */
const cases: Case[] = [
  { in: 1, out: 1, kernel: [1, 1], size: [3, 2], splits: 4 },
  { in: 16, out: 8, kernel: [1, 1], size: [5, 4], splits: 3, stride: [2, 2] },
  { in: 3, out: 5, kernel: [3, 3], size: [7, 4], splits: 3, padding: 'same' },
  { in: 3, out: 5, kernel: [3, 3], size: [7, 4], splits: 3, stride: [2, 2], padding: 'same' },
  { in: 1, out: 8, kernel: [3, 3], size: [6, 8], splits: 4, stride: [2, 2], padding: 'same' },
  { in: 8, out: 16, kernel: [3, 3], size: [8, 5], splits: 4, padding: 'same' },
  { in: 16, out: 16, kernel: [3, 3], size: [6, 9], splits: 1, stride: [2, 2], padding: 'same' },
  { in: 3, out: 8, kernel: [5, 5], size: [3, 7], splits: 3, padding: 'same' },
  { in: 8, out: 3, kernel: [5, 5], size: [9, 6], splits: 1, stride: [2, 2], padding: 'same' },
  { in: 8, out: 8, kernel: [3, 3], size: [6, 5], splits: 3, stride: [2, 1], padding: [0, 2, 1, 0] },
  { in: 3, out: 3, kernel: [2, 4], size: [5, 7], splits: 4, stride: [1, 3], padding: [1, 0, 2, 3] },
  // Positions that see nothing of the image, inputs that no position sees, and as many taps a row as are allowed.
  { in: 3, out: 5, kernel: [1, 1], size: [2, 3], splits: 3, padding: 2 },
  { in: 8, out: 1, kernel: [1, 2], size: [4, 7], splits: 1, stride: [3, 4] },
  { in: 3, out: 3, kernel: [1, 32], size: [2, 40], splits: 3, padding: [0, 3, 0, 20] },
  // Beliefs of one split, and of several, with channels that fill no warp.
  ...[1, 3].flatMap((splits): Case[] => [
    { in: 37, out: 21, kernel: [3, 3], size: [7, 6], splits, stride: [2, 2], padding: [0, 1, 2, 0] },
    { in: 130, out: 3, kernel: [3, 3], size: [4, 3], splits, padding: 'same' },
    { in: 37, out: 9, kernel: [1, 1], size: [3, 4], splits },
    { in: 9, out: 8, kernel: [7, 7], size: [9, 8], splits, stride: [2, 2], padding: 3 },
  ]),
  // More taps than a block has threads; more channels than it takes.
  { in: 8, out: 2, kernel: [17, 16], size: [18, 17], splits: 1, padding: [1, 0] },
  { in: 257, out: 3, kernel: [1, 2], size: [2, 3], splits: 1 },
  { in: 9, out: 257, kernel: [2, 1], size: [3, 2], splits: 1 },
  // More pairs of channels than the last block of a GPU sums.
  { in: 170, out: 100, kernel: [1, 1], size: [3, 2], splits: 1 },
];

function geometryOf({ size, kernel, splits, stride = [1, 1], padding = 0 }: Case): Geometry {
  const [height, width] = size;
  const sides = (): Sides => {
    if (padding === 'same') {
      // The axes are padded apart.
      const [top, , bottom] = samePadding(height, height, kernel[0], stride[0]);
      const [, left, , right] = samePadding(width, width, kernel[1], stride[1]);
      return [top, left, bottom, right];
    }
    if (typeof padding === 'number') return [padding, padding, padding, padding];
    const [top, left, bottom = top, right = left] = padding as readonly [number, number, number?, number?];
    return [top, left, bottom, right];
  };
  return { splits, height, width, stride, sides: sides() };
}

for (const c of cases) {
  const { kernel, size, splits, stride = [1, 1], padding = 0 } = c;
  const title = `${c.in} to ${c.out}, kernel ${kernel}, [${size}], stride ${stride}, padding ${padding}, ${splits} splits`;
  eachDevice(test, `predict, analytic: ${title}`, async (t, device, random) => {
    const cells = [splits * c.in];
    await checkOp(t, device, random, () => ({
      inputs: {
        mean: random.normals(cells),
        variance: random.uniforms(cells, 0.2, 2),
        weight: { ...random.normals([c.out, c.in, ...kernel], 0, 0.3), format: 'filter' as const },
      },
      run: ({ mean, variance, weight }) => {
        const [height, width] = size;
        const prior = predict(new Belief(mean, variance, splits), weight, { height, width, stride, padding });
        return [prior.mean, prior.variance];
      },
      reference: ({ mean, variance, weight }) => {
        const prior = predictAnalytic({ mean, variance }, weight, geometryOf(c));
        return [prior.mean, prior.variance];
      },
      // As for a convolution, whose sums these are, with a second sum over the splits or the outputs in backward.
      tolerance: tolerance.sum(c.in * kernel[0] * kernel[1]),
      // Deviation of such a sum: filters of 0.3 times rectified means of about 0.7. One output alone may be near 0.
      scale: 0.2 * Math.sqrt(c.in * kernel[0] * kernel[1]),
      gradientTolerance: tolerance.sum(c.in * kernel[0] * kernel[1]) + tolerance.sum(splits + c.out),
    }));
  });
}

for (const c of cases.filter((_, i) => i % 3 === 2)) {
  const { kernel, size, splits, stride = [1, 1], padding = 0 } = c;
  for (const rectify of [true, false]) {
    const title = `${c.in} to ${c.out}, kernel ${kernel}, [${size}], stride ${stride}, padding ${padding}`;
    eachDevice(test, `propagate: ${title}${rectify ? ', rectified' : ''}`, async (t, device, random) => {
      const cells = [splits * c.in];
      const taps = c.in * kernel[0] * kernel[1];
      await checkOp(t, device, random, () => ({
        inputs: {
          mean: random.normals(cells),
          variance: random.uniforms(cells, 0.2, 2),
          weight: { ...random.normals([c.out, c.in, ...kernel], 0, 0.3), format: 'filter' as const },
        },
        run: ({ mean, variance, weight }) => {
          const [height, width] = size;
          const belief = new Belief(mean, variance, splits, rectify);
          const prior = propagate(belief, weight, { height, width, stride, padding });
          return [prior.mean, prior.variance];
        },
        reference: ({ mean, variance, weight }) => {
          const prior = reference.propagate({ mean, variance }, weight, { ...geometryOf(c), rectify });
          return [prior.mean, prior.variance];
        },
        tolerance: tolerance.sum(taps),
        scale: 0.2 * Math.sqrt(taps),
        gradientTolerance: tolerance.sum(taps) + tolerance.sum(splits + c.out),
      }));
    });
  }
}

eachDevice(test, 'rectifyBelief: moments of max(x, 0), and their gradients', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { mean: random.normals([24]), variance: random.uniforms([24], 0.05, 3) },
    run: ({ mean, variance }) => {
      const moments = rectifyBelief(new Belief(mean, variance, 1, true));
      return [moments.mean, moments.variance];
    },
    reference: ({ mean, variance }) => {
      const each = [...mean.data].map((m, i) => rectified(m, variance.data[i]!));
      return [vector(each.map((r) => r.mean)), vector(each.map((r) => r.variance))];
    },
    tolerance: ONCE,
  }));
  const plain = new Belief(device.zeros([2]), device.ones([2]), 1);
  t.is(rectifyBelief(plain), plain);
});

for (const splits of [1, 2]) {
  eachDevice(test, `predict, analytic: gradients of one output alone, ${splits} splits`, async (t, device, random) => {
    const channels = splits === 1 ? 9 : 3;
    const c: Case = {
      in: channels,
      out: 8,
      kernel: [3, 3],
      size: [5, 4],
      splits,
      stride: [2, 2],
      padding: 'same',
    };
    const taps = channels * 9;
    for (const output of ['mean', 'variance'] as const) {
      await checkOp(t, device, random, () => ({
        inputs: {
          mean: random.normals([splits * channels]),
          variance: random.uniforms([splits * channels], 0.2, 2),
          weight: { ...random.normals([8, channels, 3, 3], 0, 0.3), format: 'filter' as const },
        },
        run: ({ mean, variance, weight }) => {
          const options = { height: 5, width: 4, stride: 2, padding: 'same' } as const;
          return [predict(new Belief(mean, variance, splits), weight, options)[output]];
        },
        reference: ({ mean, variance, weight }) => [predictAnalytic({ mean, variance }, weight, geometryOf(c))[output]],
        tolerance: tolerance.sum(taps),
        gradientTolerance: 2 * tolerance.sum(taps),
      }));
    }
  });
}

eachDevice(test, 'predict, analytic: one position has no variance', async (t, device, random) => {
  const [mean, variance] = [random.normals([8]), random.uniforms([8], 0.2, 2)];
  const weight = random.normals([5, 8, 3, 3]);
  const filter = device.tensor(Float32Array.from(weight.data), weight.shape, { format: 'filter' });
  const belief = new Belief(upload(device, mean), upload(device, variance), 1);
  const prior = predict(belief, filter, { height: 3, width: 3 });
  const terms = transitionTerms({ mean, variance }, weight, {
    splits: 1,
    height: 3,
    width: 3,
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  });
  closeTo(t, await prior.mean.data(), terms.mean.data, tolerance.sum(72), 'mean');
  // What cancels is the variance of the one position's value.
  const limit = tolerance.sum(72) * Math.max(...terms.ofValues.data);
  for (const value of await prior.variance.data()) t.true(value >= 0 && value <= limit, `variance ${value}`);
});

/** The sampled transition's moments over many draws of one belief: average, and standard error of it. */
async function sampled(device: Device, belief: readonly [NdArray, NdArray], filter: Tensor, stride: number) {
  const [splits, steps, side] = [4000, 10, 8];
  const noise = new DeviceRandom(device, 20);
  const [mean, variance] = belief.map(({ data }) =>
    device.tensor(Float32Array.from({ length: splits * data.length }, (_, i) => data[i % data.length]!)),
  );
  const channels = filter.shape[0]!;
  const draws = { mean: [] as Float32Array[], variance: [] as Float32Array[] };
  for (let step = 0; step < steps; step++) {
    const options = { height: side, width: side, stride, padding: 'same', noise } as const;
    const prior = predict(new Belief(mean!, variance!, splits), filter, options);
    draws.mean.push((await prior.mean.data()) as Float32Array);
    draws.variance.push((await prior.variance.data()) as Float32Array);
    prior.dispose();
    noise.advance();
  }
  const summary = (values: readonly Float32Array[]) =>
    Array.from({ length: channels }, (_, channel) => {
      const own = values.flatMap((part) => Array.from(part).filter((_, i) => i % channels === channel));
      const average = own.reduce((a, b) => a + b, 0) / own.length;
      const square = own.reduce((a, b) => a + (b - average) ** 2, 0) / (own.length - 1);
      return { average, error: Math.sqrt(square / own.length) };
    });
  return { mean: summary(draws.mean), variance: summary(draws.variance) };
}

// A statement about formulas, not about devices: each of them has its own tests of both, by oracles.
for (const stride of [1, 2]) {
  test(`predict: the average of 40000 sampled ones is the analytic, stride ${stride}`, async (t) => {
    using device = openDevice('cpu', { threads: 1 });

    // All seeds are fixed: 4 standard errors are exceeded by chance once in 16000 comparisons.
    const random = new TestRandom(`stride ${stride}`, 1);
    const [mean, variance] = [random.normals([8]), random.uniforms([8], 0.3, 2)];
    const weight = random.normals([8, 8, 3, 3], 0, 0.3);
    const filter = device.tensor(Float32Array.from(weight.data), weight.shape, { format: 'filter' });
    const belief = new Belief(upload(device, mean), upload(device, variance), 1);
    const analytic = predict(belief, filter, { height: 8, width: 8, stride, padding: 'same' });
    const expected = { mean: await analytic.mean.data(), variance: await analytic.variance.data() };
    const actual = await sampled(device, [mean, variance], filter, stride);
    for (const name of ['mean', 'variance'] as const) {
      for (const [channel, { average, error }] of actual[name].entries()) {
        const off = Math.abs(average - expected[name][channel]!) / error;
        t.true(off < 4, `${name} of channel ${channel}: ${average} ± ${error}, expected ${expected[name][channel]}`);
      }
    }
    // The test has power: without the variance of the spatial mean it would fail, in every channel.
    const sides = samePadding(8, 8, 3, stride);
    const terms = transitionTerms({ mean, variance }, weight, {
      splits: 1,
      height: 8,
      width: 8,
      stride: [stride, stride],
      sides,
    });
    for (const [channel, { average, error }] of actual.variance.entries()) {
      const off = (terms.ofValues.data[channel]! + terms.ofMeans.data[channel]! - average) / error;
      t.true(off > 8, `channel ${channel}: ${off} standard errors without the last term`);
    }
  });
}

test('predict, analytic: the same bits with one thread and with two', async (t) => {
  await seeded(t, 'bits', async (random) => {
    for (const c of cases) {
      const { kernel, size, splits, stride = [1, 1], padding = 0 } = c;
      const arrays = [
        random.normals([splits * c.in]),
        random.uniforms([splits * c.in], 0, 2),
        random.normals([c.out, c.in, ...kernel]),
        random.normals([splits * c.out]),
        random.normals([splits * c.out]),
      ];
      const run = async (threads: number) => {
        using device = openDevice('cpu', { threads });
        const [mean, variance, weight, dmean, dvariance] = arrays.map(({ shape, data }) => {
          const format = shape.length === 4 ? 'filter' : 'plain';
          return device.tensor(Float32Array.from(data), shape, { format, requiresGrad: true });
        });
        const [height, width] = size;
        const prior = predict(new Belief(mean!, variance!, splits), weight!, { height, width, stride, padding });
        const results = [prior.mean, prior.variance].map((tensor) => tensor.detach());
        backward([prior.mean, prior.variance], [dmean!.detach(), dvariance!.detach()]);
        results.push(mean!.grad!, variance!.grad!, weight!.grad!);
        return Promise.all(results.map(async (tensor) => bits(await tensor.data())));
      };
      t.deepEqual(await run(2), await run(1));
    }
  });
});

eachDevice(test, 'predict: analytic without noise, sampled with it, by default', async (t, device, random) => {
  const belief = new Belief(upload(device, random.normals([6])), upload(device, random.uniforms([6], 0.1, 1)), 2);
  const weight = random.normals([5, 3, 3, 3]);
  const filter = device.tensor(Float32Array.from(weight.data), weight.shape, { format: 'filter' });
  const noise = upload(device, random.normals([2, 3, 4, 5]));
  const size = { height: 4, width: 5, padding: 'same' } as const;
  const values = async (options: Parameters<typeof predict>[2]) => {
    const { mean, variance } = predict(belief, filter, options);
    return [bits(await mean.data()), bits(await variance.data())];
  };
  t.deepEqual(await values(size), await values({ ...size, transition: 'analytic' }));
  t.deepEqual(await values({ ...size, noise }), await values({ ...size, noise, transition: 'sampled' }));
  t.deepEqual(await values({ ...size, noise, transition: 'analytic' }), await values(size));
  t.notDeepEqual(await values({ ...size, noise }), await values(size));
});

eachDevice(test, 'transition: wrong arguments', (t, device) => {
  const belief = (length: number, splits: number) => new Belief(device.zeros([length]), device.ones([length]), splits);
  const filter = (shape: readonly number[]) => device.zeros(shape, { format: 'filter' });
  const size = { height: 4, width: 5 };
  const fails = (code: string, body: () => void, message?: RegExp) =>
    t.throws(body, message ? { code, message } : { code });

  const good = filter([5, 3, 3, 3]);
  fails('INVALID_ARGUMENT', () => predict(belief(6, 2), good, { ...size, transition: 'sampled' }), /noise/);
  fails('SHAPE_MISMATCH', () => predict(belief(8, 2), good, size), /mean/);
  fails('SHAPE_MISMATCH', () => new Belief(device.zeros([6]), device.ones([8]), 2));
  fails('SHAPE_MISMATCH', () => belief(6, 4));
  fails('SHAPE_MISMATCH', () => predict(belief(6, 2), device.zeros([5, 3, 3, 3]), size), /filter/);
  fails('SHAPE_MISMATCH', () => predict(belief(6, 2), good, { height: 2, width: 5 }));
  fails('INVALID_ARGUMENT', () => predict(belief(3, 1), filter([1, 3, 1, 33]), { height: 1, width: 40 }), /32 x 32/);
  fails('INVALID_ARGUMENT', () => predict(belief(6, 2), good, { ...size, stride: 0 }), /stride/);
  fails('INVALID_ARGUMENT', () => predict(belief(6, 2), good, { ...size, padding: -1 }), /padding/);
  const unknown = { ...size, transition: 'guessed' as 'sampled', noise: new DeviceRandom(device, 1) };
  fails('INVALID_ARGUMENT', () => predict(belief(6, 2), good, unknown), /transition/);
});
