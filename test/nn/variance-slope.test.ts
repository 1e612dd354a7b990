import test from 'ava';
import { Belief, backward, CifarResNet, Conv2d, conv2d, crossEntropy, log, Sgd, scope, sum } from '../../lib/index.js';
import { VarianceSlope } from '../../lib/nn/variance-slope.js';
import { map, slice, zip } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';

/** The averages start from nothing, of which so many steps leave less than 1e-9. */
const STEPS = 40;

const cases = [
  { samples: 3, channels: 3, out: 5, size: 7, kernel: 3, stride: 1 },
  { samples: 17, channels: 16, out: 8, size: 6, kernel: 3, stride: 2 },
  { samples: 8, channels: 2, out: 3, size: 9, kernel: 1, stride: 1 },
];

for (const { samples, channels, out, size, kernel, stride } of cases) {
  const name = `[${samples}, ${channels}, ${size}, ${size}] to ${out}, stride ${stride}`;
  eachDevice(
    test,
    `VarianceSlope: the gradient is that of the samples' variance, ${name}`,
    async (t, device, random) => {
      const seen = Math.ceil(samples / 8);
      const sides = plain.samePadding(size, size, kernel, stride);
      await checkOp(t, device, random, () => {
        const shift = random.uniform(-3, 3);
        return {
          inputs: {
            x: {
              ...map(random.normals([samples, channels, size, size]), (v) => Math.fround(v + shift)),
              constant: true,
            },
            w: { ...random.normals([out, channels, kernel, kernel]), format: 'filter' as const },
            variance: { ...random.uniforms([out], 0.5, 3), constant: true },
            input: random.uniforms([channels], 0.5, 3),
            mean: { ...random.normals([channels]), constant: true },
          },
          run({ x, w, variance, input, mean }) {
            const slope = new VarianceSlope(device, w.shape);
            const options = { stride, padding: 'same' as const };
            const y = conv2d(x, w, options);
            for (let step = 0; step < STEPS; step++) slope.observe(x, y, w, options);
            const result = slope.attach(variance, w, new Belief(mean, input, 1));
            slope.dispose();
            return [result];
          },
          reference({ x, w, variance, input }, hold) {
            const deviations = zip(input, hold(input), (a, b) => Math.sqrt(a / b));
            const scaled = map(w, (v, i) => v * deviations.data[Math.floor(i / kernel ** 2) % channels]!);
            const y = plain.conv2d(slice(x, 0, seen), scaled, [stride, stride], sides);
            const shown = plain.moments(y, 1).variance;
            const now = hold(shown);
            const ratio = hold(zip(variance, shown, (a, b) => a / b));
            const moved = zip(shown, now, (a, b) => a - b);
            return [map(variance, (v, i) => v + ratio.data[i]! * moved.data[i]!)];
          },
          tolerance: tolerance.exact,
          // A sum over pixels whose mean was taken off, itself good to that of the normalizations.
          gradientTolerance: tolerance.sum(seen * size * size) + (1 + Math.abs(shift)) * tolerance.normalization,
        };
      });
    },
  );
}

eachDevice(test, 'Conv2d: observed gradients leave the belief as it is', async (t, device, random) => {
  const options = { padding: 'same', bias: true, weightStandardization: true, groups: 2, dilation: 2 } as const;
  const closed = new Conv2d(device, 4, 6, 3, options);
  const observed = new Conv2d(device, 4, 6, 3, { ...options, transitionGradient: 'observed' });
  const values = await closed.stateValues();
  for (const [name, tensor] of observed.namedParameters()) tensor.write(values.get(name)?.data as Float32Array);
  const x = device.tensor(Float32Array.from(random.normals([9, 4, 8, 8]).data), [9, 4, 8, 8]);
  const belief = new Belief(
    device.tensor(Float32Array.from(random.normals([4]).data)),
    device.tensor(Float32Array.from(random.uniforms([4], 0.5, 2).data)),
    1,
    true,
  );
  for (let step = 0; step < 3; step++) {
    const expected = closed.filter({ x, belief });
    const actual = observed.filter({ x, belief });
    t.is(bits(await actual.x.data()), bits(await expected.x.data()));
    t.is(bits(await actual.belief!.mean.data()), bits(await expected.belief!.mean.data()));
    closeTo(
      t,
      await actual.belief!.variance.data(),
      await expected.belief!.variance.data(),
      tolerance.exact,
      'variance',
    );
  }
  backward(sum(log(observed.filter({ x, belief }).belief!.variance)));
  t.true((await observed.weight.grad!.data()).some((value) => value !== 0));
  // Inference learns nothing.
  const updates = observed.observed!.updates;
  t.deepEqual([...(await updates.data())], [4]);
  observed.eval().filter({ x, belief });
  t.deepEqual([...(await updates.data())], [4]);
});

eachDevice(
  test,
  'a recorded training with observed gradients gives the bits of an eager one',
  async (t, device, random) => {
    const images = device.tensor(Float32Array.from(random.normals([8, 3, 8, 8]).data), [8, 3, 8, 8]);
    const labels = device.tensor(Int32Array.from({ length: 8 }, () => random.below(10)));
    const train = async (recorded: boolean) => {
      const norm = { type: 'kalman', splits: 4, transitionGradient: 'observed' } as const;
      const model = new CifarResNet(device, { n: 1, norm, seed: 3, weightStandardization: true });
      const optimizer = new Sgd(device, model.namedParameters(), 0.05);
      const step = () =>
        scope(() => {
          model.zeroGrad();
          backward(crossEntropy(model.forward(images), labels).loss);
          optimizer.step();
        });
      step();
      if (recorded) {
        const { program } = device.record(step);
        for (let i = 0; i < 2; i++) program.run();
        program.dispose();
      } else {
        for (let i = 0; i < 2; i++) step();
      }
      const state = await model.stateValues();
      model.dispose();
      optimizer.dispose();
      return Object.fromEntries([...state].map(([name, { data }]) => [name, bits(data)]));
    };
    t.deepEqual(await train(true), await train(false));
  },
);
