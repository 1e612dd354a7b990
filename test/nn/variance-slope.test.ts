import test from 'ava';
import {
  Belief,
  backward,
  CifarResNet,
  Conv2d,
  conv2d,
  crossEntropy,
  log,
  mul,
  Sgd,
  scope,
  sum,
  type Tensor,
} from '../../lib/index.js';
import { VarianceSlope } from '../../lib/nn/variance-slope.js';
import { observedVariance } from '../../lib/ops/observed-variance.js';
import { propagate } from '../../lib/ops/predict.js';
import { map, slice, zip } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';
import { rectified } from '../support/reference-transition.js';

/** The averages start from nothing, of which so many steps leave less than 1e-9. */
const STEPS = 40;

const cases = [
  { samples: 3, channels: 3, out: 5, size: 7, kernel: 3, stride: 1, isRectified: false },
  { samples: 33, channels: 16, out: 8, size: 6, kernel: 3, stride: 2, isRectified: true },
  { samples: 8, channels: 2, out: 3, size: 9, kernel: 1, stride: 1, isRectified: true },
];

for (const { samples, channels, out, size, kernel, stride, isRectified } of cases) {
  const name = `[${samples}, ${channels}, ${size}, ${size}] to ${out}, stride ${stride}${isRectified ? ', rectified' : ''}`;
  eachDevice(
    test,
    `VarianceSlope: the gradient is that of the samples' variance, ${name}`,
    async (t, device, random) => {
      const seen = Math.ceil(samples / 16);
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
            mean: random.normals([channels]),
          },
          run({ x, w, variance, input, mean }) {
            const slope = new VarianceSlope(device, w.shape);
            const options = { stride, padding: 'same' as const };
            const y = conv2d(x, w, options);
            for (let step = 0; step < STEPS; step++) slope.observe(x, y, w, options);
            const result = observedVariance(variance, w, new Belief(mean, input, 1, isRectified), slope);
            slope.dispose();
            return [result];
          },
          reference({ x, w, variance, input, mean }, hold) {
            const believed = isRectified ? zip(mean, input, (m, v) => rectified(m, v).variance) : input;
            const deviations = zip(believed, hold(believed), (a, b) => Math.sqrt(a / b));
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

for (const [out, inGroup, kernel, groups] of [
  [16, 8, 3, 2],
  [24, 5, 1, 3],
  [6, 1, 3, 6],
  [40, 33, 2, 1],
] as const) {
  const name = `[${out}, ${inGroup}, ${kernel}, ${kernel}] in ${groups} groups`;
  eachDevice(test, `observedVariance: ${name}, by its formula; what doesn't vary`, async (t, device, random) => {
    const filter = random.normals([out, inGroup, kernel, kernel]);
    const [slope, inputs] = [random.normals(filter.shape), groups * inGroup];
    const belief = { mean: random.normals([inputs]), variance: random.uniforms([inputs], 0.1, 2) };
    const [average, dv] = [random.uniforms([out], 0.1, 2), random.normals([out])];
    // An output and an input that have stood still.
    average.data[out - 1] = 0;
    belief.variance.data[0] = 0;
    const [w, s, mean, inputVariance, known] = [filter, slope, belief.mean, belief.variance, average].map((array, i) =>
      device.tensor(Float32Array.from(array.data), array.shape, {
        format: i < 2 ? 'filter' : 'plain',
        requiresGrad: i === 0 || i === 2 || i === 3,
      }),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const variance = device.full([out], 2);
    const result = observedVariance(variance, w, new Belief(mean, inputVariance, 1), { slope: s, variance: known });
    t.deepEqual(await result.data(), await variance.data());
    backward(sum(mul(result, device.tensor(Float32Array.from(dv.data)))));
    const [taps, perGroup] = [kernel ** 2, out / groups];
    const du = new Float64Array(inputs);
    const dw = map(filter, (tap, i) => {
      const o = Math.floor(i / (inGroup * taps));
      const input = Math.floor(o / perGroup) * inGroup + (Math.floor(i / taps) % inGroup);
      const gradient = o === out - 1 ? 0 : ((dv.data[o]! * 2) / average.data[o]!) * slope.data[i]!;
      if (input > 0) du[input]! += (gradient * tap) / (2 * belief.variance.data[input]!);
      return gradient;
    });
    // A quotient and two products, each rounded.
    closeTo(t, await w.grad!.data(), dw.data, 3 * tolerance.exact, 'filter');
    closeTo(t, await inputVariance.grad!.data(), du, tolerance.sum(perGroup * taps), 'variance');
    t.true((await mean.grad!.data()).every((value) => value === 0));
  });
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

for (const { inputs, outputs, taps } of [
  { inputs: 4, outputs: 6, taps: 3 },
  { inputs: 13, outputs: 16, taps: 3 },
  { inputs: 16, outputs: 24, taps: 5 },
  // More channels than a block of the CUDA device's shared transition has threads.
  { inputs: 300, outputs: 24, taps: 1 },
]) {
  const title = `Conv2d: a transition's observed gradients are the sum of its parts, ${inputs} to ${outputs}, ${taps} x ${taps}`;
  eachDevice(test, title, async (t, device, random) => {
    const conv = new Conv2d(device, inputs, outputs, taps, { padding: 'same', transitionGradient: 'observed' });
    const x = device.tensor(Float32Array.from(random.normals([9, inputs, 8, 8]).data), [9, inputs, 8, 8]);
    const vector = (values: Float64Array, requiresGrad: boolean) =>
      device.tensor(Float32Array.from(values), [values.length], { requiresGrad });
    const mean = vector(random.normals([inputs]).data, true);
    const variance = vector(random.uniforms([inputs], 0.5, 2).data, true);
    const belief = new Belief(mean, variance, 1, true);
    conv.filter({ x, belief });
    conv.eval();
    const [dmean, dvariance] = [
      vector(random.normals([outputs]).data, false),
      vector(random.normals([outputs]).data, false),
    ];
    const closed = () => propagate(belief, conv.weight, { padding: 'same', height: 8, width: 8 });
    const inParts = () => {
      const { mean: moved, variance: believed } = closed();
      return new Belief(moved, observedVariance(believed, conv.weight, belief, conv.observed!), 1);
    };
    // A gradient that comes through one of both alone, too; through the mean it is the closed form's.
    const flows = [
      { flow: (of: Belief) => [sum(mul(of.mean, dmean)), sum(mul(of.variance, dvariance))], exact: false },
      { flow: (of: Belief) => [sum(mul(of.mean, dmean))], exact: true },
      { flow: (of: Belief) => [sum(mul(of.variance, dvariance))], exact: false },
    ];
    for (const [i, { flow, exact }] of flows.entries()) {
      const gradients = [];
      for (const result of [() => conv.filter({ x, belief }).belief!, inParts]) {
        for (const tensor of [conv.weight, mean, variance]) tensor.zeroGrad();
        backward(flow(result()));
        gradients.push(await Promise.all([conv.weight, mean, variance].map(({ grad }) => grad!.data())));
      }
      const [together, apart] = gradients as [Float32Array[], Float32Array[]];
      if (exact) t.deepEqual(together.map(bits), apart.map(bits), `flow ${i}`);
      // Sums over outputs and taps, of terms of about one, that may cancel.
      for (const [k, name] of ['weight', 'mean', 'variance'].entries()) {
        const precision = tolerance.sum(outputs * taps ** 2);
        closeTo(t, together[k]!, apart[k]!, precision, `flow ${i}, gradient of ${name}`, 1);
      }
    }
  });
}

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
