import test from 'ava';
import {
  Belief,
  backward,
  buildModel,
  CifarResNet,
  type Device,
  filterRows,
  GroupKalmanNorm2d,
  GroupNorm,
  KalmanNorm2d,
} from '../../lib/index.js';
import { map, type NdArray, ndarray } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { groupKalmanNorm } from '../support/reference-adaptive.js';

const upload = (device: Device, { data, shape }: NdArray) => device.tensor(Float32Array.from(data), shape);

interface Case {
  shape: readonly number[];
  groups: number;
  relu?: boolean;
  prior?: boolean;
  /** Whether it is the first step, in which all of the state is zero. */
  first?: boolean;
  gain?: number;
  observationGradient?: number | 'auto';
}

for (const c of [
  { shape: [4, 8, 5, 3], groups: 2, relu: true, first: true },
  { shape: [6, 12, 3, 4], groups: 4, observationGradient: 'auto' },
  { shape: [5, 6, 3, 3], groups: 6, relu: true },
  { shape: [3, 16, 4, 4], groups: 1, gain: 0.3 },
  { shape: [8, 8, 3, 3], groups: 4, relu: true, prior: false },
] as Case[]) {
  const { shape, groups, relu = false, prior = true, first = false, observationGradient = 0.4, gain } = c;
  const channels = shape[1]!;
  const title = [`[${shape}] in ${groups}`, relu && 'ReLU', !prior && 'no prior', first && 'first step', gain];
  eachDevice(test, `GroupKalmanNorm2d: ${title.filter(Boolean).join(', ')}`, async (t, device, random) => {
    const options = { gain: gain ?? ('adaptive' as const), correction: 0.1, adaptation: 0.2, gate: 3, momentum: 0.15 };
    const rows = ndarray([filterRows.length, groups]);
    const names = (['meanNoise', 'varianceNoise', 'steps'] as const).map((name) => filterRows.indexOf(name));
    const state = first
      ? rows
      : map(random.uniforms(rows.shape, -0.1, 0.1), (value, i) => {
          const row = Math.floor(i / groups);
          return row === names[2] ? 5 : names.includes(row) ? 0.2 + value : value;
        });
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals(shape, 0.3, 1.2),
        gamma: random.normals([channels], 1, 0.3),
        beta: random.normals([channels], 0, 0.5),
        priorMean: { ...random.normals([channels], 0.3, 0.4), constant: !prior },
        priorVar: { ...random.uniforms([channels], 0.4, 2), constant: !prior },
        filterState: { ...state, constant: true },
        runningMean: { ...random.normals([groups]), constant: true },
        runningVariance: { ...random.uniforms([groups], 0.5, 2), constant: true },
      },
      run: ({ x, priorMean, priorVar, ...own }) => {
        const made = new GroupKalmanNorm2d(device, channels, { ...options, groups, relu, observationGradient });
        const layer = Object.assign(made, own);
        const { x: y, belief, input } = layer.filter({ x, belief: prior ? new Belief(priorMean, priorVar, 1) : null });
        const found = [input!.mean, input!.variance, own.filterState, own.runningMean, own.runningVariance];
        return prior ? [y, ...found, belief!.mean, belief!.variance] : [y, ...found];
      },
      reference: ({ x, gamma, beta, priorMean, priorVar, filterState, runningMean, runningVariance }, hold) => {
        const share = observationGradient === 'auto' ? 1 - groups / channels : observationGradient;
        const given = prior ? { mean: priorMean, variance: priorVar } : null;
        const running = { mean: runningMean, variance: runningVariance };
        const own = { gamma, beta, groups, relu, prior: given, state: filterState, running };
        const r = groupKalmanNorm(x, { ...options, ...own, observationGradient: share }, hold);
        const found = [r.input.mean, r.input.variance, r.state, r.running.mean, r.running.variance];
        return r.believed ? [r.output, ...found, r.believed.mean, r.believed.variance] : [r.output, ...found];
      },
      tolerance: 2 * tolerance.normalization,
      gradientTolerance: 4 * tolerance.normalization,
    }));
  });
}

eachDevice(test, 'GKN with as many groups as channels is KN with splits of one sample', async (t, device, random) => {
  const options = { relu: true, observationGradient: 0.3 };
  const layers = [
    new GroupKalmanNorm2d(device, 8, { ...options, groups: 8 }),
    new KalmanNorm2d(device, 8, { ...options, splits: 4 }),
  ] as const;
  for (let step = 0; step < 3; step++) {
    const drawn = [random.normals([4, 8, 3, 3]), random.normals([8]), random.uniforms([8], 0.5, 2)] as const;
    const dy = upload(device, random.normals([4, 8, 3, 3]));
    const found = [];
    for (const layer of layers) {
      const [x, mean, variance] = drawn.map((values) => upload(device, values));
      for (const leaf of [x!, mean!, variance!]) leaf.requiresGrad = true;
      const { x: y, belief, input } = layer.filter({ x: x!, belief: new Belief(mean!, variance!, 1) });
      const values = [y, belief!.mean, belief!.variance, input!.mean, input!.variance].map((tensor) => tensor.detach());
      backward(y, dy);
      found.push(await Promise.all([...values, x!.grad!, mean!.grad!, variance!.grad!].map((tensor) => tensor.data())));
    }
    const [ours, theirs] = found as [(typeof found)[0], (typeof found)[0]];
    // Variances of beliefs: the result's is gamma² here, there times v / (v + epsilon); the input's is here times
    // (1 + epsilon / v) / (1 + epsilon / w), of variances before and after the correction (0.5 to 2).
    ours.forEach((values, i) => {
      closeTo(t, values, theirs[i]!, i === 2 || i === 4 ? 1e-4 : 4 * tolerance.normalization, `step ${step}, ${i}`, 1);
    });
  }
  const [ours, theirs] = await Promise.all(layers.map(({ filterState }) => filterState.data()));
  closeTo(t, ours!, theirs!, tolerance.normalization, 'state');
});

eachDevice(test, 'GKN with a gain of 1 is group normalization in training', async (t, device, random) => {
  const values = random.normals([3, 8, 4, 3], 0.4, 1.3);
  const dy = upload(device, random.normals([3, 8, 4, 3]));
  using gkn = new GroupKalmanNorm2d(device, 8, { groups: 2, gain: 1, relu: true });
  using gn = new GroupNorm(device, 2, 8, { relu: true });
  const found = [];
  for (const layer of [gkn, gn]) {
    using x = upload(device, values);
    x.requiresGrad = true;
    const belief =
      layer === gkn
        ? new Belief(upload(device, random.normals([8])), upload(device, random.uniforms([8], 1, 2)), 1)
        : null;
    const { x: y } = layer.filter({ x, belief });
    const output = await y.data();
    backward(y, dy);
    found.push([output, await x.grad!.data()] as const);
  }
  closeTo(t, found[0]![0], found[1]![0], 4 * tolerance.normalization, 'output');
  closeTo(t, found[0]![1], found[1]![1], 4 * tolerance.normalization, 'gradient');
});

eachDevice(test, 'GKN: inference is by running averages; anew from specs', async (t, device, random) => {
  const x = upload(device, random.normals([4, 8, 3, 5], 0.5, 1.5));
  using layer = new GroupKalmanNorm2d(device, 8, { groups: 2, relu: true, gain: 0.25 });
  layer.forward(x).dispose();
  const [mean, variance] = await Promise.all([layer.runningMean.data(), layer.runningVariance.data()]);
  const values = await x.data();
  using y = layer.eval().forward(x);
  const expected = Array.from(values, (value, i) => {
    const g = Math.floor((Math.floor(i / 15) % 8) / 4);
    return Math.max(0, (value - mean[g]!) / Math.sqrt(variance[g]! + 1e-5));
  });
  closeTo(t, await y.data(), expected, tolerance.normalization, 'inference');
  t.deepEqual([...layer.namedParameters().keys()], ['gamma', 'beta']);
  t.deepEqual([...layer.namedBuffers().keys()], ['runningMean', 'runningVariance', 'filterState']);
  using copy = buildModel(device, layer.spec()) as GroupKalmanNorm2d;
  t.deepEqual(copy.spec(), layer.spec());
  copy.loadStateDict(await layer.stateValues());
  using same = copy.eval().forward(x);
  t.is(bits(await same.data()), bits(await y.data()));
});

eachDevice(test, 'GKN: beliefs go through a network, and its state moves', async (t, device, random) => {
  const norm = { type: 'group-kalman', transitionGradient: 'observed' } as const;
  using net = new CifarResNet(device, { n: 1, norm, classes: 3, seed: 1 });
  using logits = net.forward(upload(device, random.normals([4, 3, 8, 8])));
  backward(logits, device.ones([4, 3]));
  for (const [name, tensor] of net.namedBuffers()) {
    if (name.endsWith('filterState')) t.true((await tensor.data()).every(Number.isFinite), name);
  }
  for (const [name, tensor] of net.namedParameters()) t.not(tensor.grad, null, name);
  t.is((net.normLast as GroupKalmanNorm2d).groups, 4);
});

eachDevice(test, 'GKN: wrong options, priors and samples are typed errors', (t, device) => {
  for (const [make, message] of [
    [() => new GroupKalmanNorm2d(device, 16), /groups must be a divisor of the 16 channels, got 32/],
    [() => new GroupKalmanNorm2d(device, 4, { groups: 2, momentum: 2 }), /momentum must be between 0 and 1, got 2/],
    [() => new GroupKalmanNorm2d(device, 4, { groups: 2, gain: -1 }), /^GroupKalmanNorm2d: gain/],
    [() => new GroupKalmanNorm2d(device, 4, { groups: 2, gate: 0 }), /^GroupKalmanNorm2d: gate/],
    [() => buildModel(device, { type: 'GroupKalmanNorm2d', channels: 4, groups: 3 }), /groups/],
  ] as const) {
    t.throws(make, { code: 'INVALID_ARGUMENT', message });
  }
  using layer = new GroupKalmanNorm2d(device, 4, { groups: 2 });
  const belief = (size: number, splits: number) => new Belief(device.zeros([size]), device.ones([size]), splits);
  const x = device.ones([2, 4, 3, 3]);
  for (const wrong of [belief(8, 2), belief(8, 1), belief(2, 1)]) {
    t.throws(() => layer.filter({ x, belief: wrong }), {
      code: 'INVALID_ARGUMENT',
      message: /prior must be one belief/,
    });
  }
  t.throws(() => layer.forward(device.ones([2, 8, 3, 3])), {
    code: 'SHAPE_MISMATCH',
    message: 'GroupKalmanNorm2d: x must have shape [N, 4, H, W], got [2, 8, 3, 3]',
  });
});

eachDevice(
  test,
  'filters: options of other normalizations that they lack are refused when they are made',
  (t, device) => {
    for (const [Norm, own] of [
      [KalmanNorm2d, {}],
      [GroupKalmanNorm2d, { groups: 2 }],
    ] as const) {
      const make = (options: object) => () => new Norm(device, 8, { ...own, ...options });
      for (const [options, message] of [
        [{ affine: false }, `${Norm.name}: affine must be true`],
        [{ runningStats: 'first-split' }, `${Norm.name}: runningStats must be "all-splits", got "first-split"`],
      ] as const)
        t.throws(make(options), { code: 'INVALID_ARGUMENT', message: new RegExp(message) } as object);
      t.notThrows(make({ affine: true, runningStats: 'all-splits' }));
    }
  },
);
