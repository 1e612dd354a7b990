import test from 'ava';
import { Belief, DeviceRandom, kalmanNorm, samplePrior } from '../../lib/index.js';
import { predict } from '../../lib/kalman/index.js';
import { dot, ndarray, slice, sum } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { virtualNoise } from '../support/philox.js';
import { samePadding } from '../support/reference.js';
import * as kalman from '../support/reference-kalman.js';

const shapes = [
  [3, 1, 1, 1],
  [1, 5, 7, 3],
  [2, 12, 5, 5],
  [4, 24, 3, 2],
  [64, 3, 3, 3],
  [2, 16, 6, 4],
] as const;

for (const shape of shapes) {
  const [splits, channels, height, width] = shape;

  eachDevice(test, `samplePrior: given noise [${shape}]`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        mean: random.normals([splits * channels]),
        variance: random.uniforms([splits * channels], 0.2, 2),
        z: { ...random.normals(shape), constant: true },
      },
      run: ({ mean, variance, z }) => [samplePrior(new Belief(mean, variance, splits), { height, width }, z)],
      reference: ({ mean, variance, z }) => [kalman.samplePrior({ mean, variance }, z)],
      // z is recovered from the output: float32 holds mean + z·std to half a unit of the largest.
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `samplePrior: noise of a random stream [${shape}]`, async (t, device, random) => {
    const seed = random.below(2 ** 31) * 2 ** 20 + random.below(2 ** 20);
    const mean = random.normals([splits * channels]);
    const variance = random.uniforms([splits * channels], 0.2, 2);
    const draws = new DeviceRandom(device, seed);
    const belief = new Belief(
      device.tensor(Float32Array.from(mean.data)),
      device.tensor(Float32Array.from(variance.data)),
      splits,
    );
    for (const [step, stream] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [7, 0],
    ] as const) {
      if (step === 1) draws.advance();
      if (step === 7) draws.seek(7);
      const y = samplePrior(belief, { height, width }, draws);
      const expected = kalman.samplePrior({ mean, variance }, virtualNoise(shape, { seed, step, stream }));
      // Logarithm, sine and root are good to a few units of float32; mean and noise may cancel.
      const scale = Math.max(...mean.data.map(Math.abs));
      closeTo(t, await y.data(), expected.data, tolerance.elementwise, `step ${step}, draw ${stream}`, scale);
      t.is(await draws.step(), step);
    }
  });

  // The moments of one pixel are trivial.
  for (const stride of height * width > 1 ? [1, 2] : []) {
    eachDevice(test, `predict: through a filter of stride ${stride}, [${shape}]`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: {
          mean: random.normals([splits * channels]),
          variance: random.uniforms([splits * channels], 0.2, 2),
          weight: { ...random.normals([5, channels, 3, 3], 0, 0.3), format: 'filter' as const },
          z: { ...random.normals(shape), constant: true },
        },
        run: ({ mean, variance, weight, z }) => {
          const belief = new Belief(mean, variance, splits);
          const prior = predict(belief, weight, { height, width, noise: z, stride, padding: 'same' });
          return [prior.mean, prior.variance];
        },
        reference: ({ mean, variance, weight, z }) => {
          const sides = samePadding(height, width, 3, stride);
          const prior = kalman.predict({ mean, variance }, weight, z, [stride, stride], sides);
          return [prior.mean, prior.variance];
        },
        tolerance: tolerance.sum(9 * channels),
        gradientTolerance: tolerance.block,
      }));
    });
  }
}

eachDevice(test, 'kalmanNorm: its virtual samples have the noise of their draw', async (t, device, random) => {
  const seed = random.below(2 ** 31);
  const draws = new DeviceRandom(device, seed);
  const x = random.normals([4, 12, 5, 3]);
  const input = device.tensor(Float32Array.from(x.data), x.shape);
  for (const stream of [0, 1]) {
    const { output } = kalmanNorm(input, null, { gamma: null, beta: null }, { splits: 2, gain: 0.1, sample: draws });
    const noise = virtualNoise([2, 12, 5, 3], { seed, step: 0, stream });
    const expected = kalman.kalmanNorm(x, { splits: 2, gain: 0.1, prior: null, noise }, (value) => value).output;
    closeTo(t, await output.data(), expected.data, tolerance.normalization, `draw ${stream}`);
  }
});

eachDevice(test, 'samplePrior: mean, variance and independence of many values', async (t, device) => {
  const [channels, side] = [8, 128];
  const count = side * side;
  // Far from the cut of the ReLU.
  const belief = new Belief(device.full([2 * channels], 20), device.full([2 * channels], 1), 2);
  const y = await samplePrior(belief, { height: side, width: side }, new DeviceRandom(device, 5)).data();
  const z = ndarray(
    [2 * channels, count],
    Float64Array.from(y, (value) => value - 20),
  );
  const first = slice(z, 0, 1).data;
  for (let cell = 0; cell < 2 * channels; cell++) {
    const values = slice(z, cell, cell + 1).data;
    // Six standard errors: 1/sqrt(n), sqrt(2/n) and 1/sqrt(n); the seed is fixed.
    const limit = 6 / Math.sqrt(count);
    t.true(Math.abs(sum(values) / count) < limit, 'mean');
    t.true(Math.abs(dot(values, values) / count - 1) < Math.SQRT2 * limit, 'variance');
    if (cell > 0) t.true(Math.abs(dot(values, first) / count) < limit, 'correlation of channels and splits');
    const shifted = dot(values.subarray(1), values.subarray(0, count - 1)) / count;
    t.true(Math.abs(shifted) < limit, 'correlation of neighbours');
  }
});

eachDevice(test, 'random streams: same seed, same bits; other seed, step or draw, other bits', async (t, device) => {
  const belief = new Belief(device.zeros([6]), device.ones([6]), 2);
  const draw = async (noise: DeviceRandom) => bits(await samplePrior(belief, { height: 3, width: 5 }, noise).data());
  const [a, b, other] = [new DeviceRandom(device, 9), new DeviceRandom(device, 9), new DeviceRandom(device, 10)];
  const first = await draw(a);
  t.is(await draw(b), first);
  t.not(await draw(other), first);
  const second = await draw(a);
  t.not(second, first);
  a.advance();
  const next = await draw(a);
  t.false([first, second].includes(next));
  a.seek(0);
  t.is(await draw(a), first);
  t.is(await draw(a), second);
});
