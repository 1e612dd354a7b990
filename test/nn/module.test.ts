import test from 'ava';
import {
  AvgPool2d,
  BatchNorm2d,
  CifarResNet,
  Conv2d,
  GlobalAvgPool2d,
  GroupNorm,
  HostRandom,
  Linear,
  type NormSpec,
  ReferenceKalmanNorm2d,
  ReLU,
  Sequential,
  type StateValues,
} from '../../lib/index.js';
import { bits } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';

const norms: Record<string, NormSpec> = {
  batch: { type: 'batch' },
  'split batch': { type: 'batch', splits: 64 },
  group: { type: 'group' },
  kalman: { type: 'reference-kalman', splits: 64, gain: 0.1 },
};

for (const [name, norm] of Object.entries(norms)) {
  eachDevice(test, `CifarResNet: numbers of parameters with ${name} normalization`, (t, device) => {
    const buffers: Record<number, number> = norm.type === 'group' ? {} : { 1: 480, 5: 2272, 18: 8096 };
    for (const [n, count] of [
      [1, 75_290],
      [5, 464_154],
      [18, 1_727_962],
    ] as const) {
      const model = new CifarResNet(device, { n, norm });
      t.is(model.parameterCount(), count, `n = ${n}`);
      const state = [...model.namedBuffers().values()].reduce((sum, buffer) => sum + buffer.size, 0);
      t.is(state, buffers[n] ?? 0, `running averages at n = ${n}`);
      model.dispose();
    }
  });
}

eachDevice(test, 'CifarResNet: names of parameters and buffers', (t, device) => {
  const model = new CifarResNet(device, { n: 1, norm: { type: 'reference-kalman', gain: 0.1 } });
  const affine = (norm: string) => [`${norm}.gamma`, `${norm}.beta`];
  const block = (name: string, inner: string[]) => [`${name}.conv1.weight`, `${name}.conv2.weight`, ...inner];
  const [parameters, buffers] = [[...model.namedParameters().keys()], [...model.namedBuffers().keys()]];
  t.deepEqual(
    [...parameters].sort(),
    [
      'conv0.weight',
      ...affine('norm0'),
      ...block('stage1.0', affine('stage1.0.norm2')),
      ...block('stage2.0', [...affine('stage2.0.norm1'), ...affine('stage2.0.norm2')]),
      ...block('stage3.0', [...affine('stage3.0.norm1'), ...affine('stage3.0.norm2')]),
      ...affine('normLast'),
      'linear.weight',
      'linear.bias',
    ].sort(),
  );
  const layers = ['norm0', 'stage1.0.norm2', 'stage2.0.norm1', 'stage2.0.norm2', 'stage3.0.norm1', 'stage3.0.norm2'];
  const expected = [...layers, 'normLast'].flatMap((norm) => [`${norm}.runningMean`, `${norm}.runningVariance`]);
  t.deepEqual([...buffers].sort(), expected.sort());
  t.deepEqual([...model.stateDict().keys()].sort(), [...parameters, ...buffers].sort());
  t.true([...model.namedParameters().values()].every((tensor) => tensor.requiresGrad));
  t.false([...model.namedBuffers().values()].some((tensor) => tensor.requiresGrad));
  model.dispose();
});

eachDevice(test, 'train and eval reach every module', (t, device) => {
  const inner = new Sequential(new BatchNorm2d(device, 3), new ReLU());
  const net = new Sequential(new Conv2d(device, 3, 3, 1), inner);
  t.true(net.training && inner.layers[0]!.training);
  t.is(net.eval(), net);
  t.false(net.training || inner.training || inner.layers[0]!.training);
  net.train();
  t.true(inner.layers[0]!.training && inner.layers[1]!.training);
});

eachDevice(test, 'Sequential: layers in order, with names by position', async (t, device) => {
  const net = new Sequential(
    new Conv2d(device, 3, 8, 3, { padding: 'same', stride: 2 }),
    new BatchNorm2d(device, 8, { relu: true }),
    new AvgPool2d(2),
    new GroupNorm(device, 2, 8),
    new ReLU(),
    new GlobalAvgPool2d(),
    new Linear(device, 8, 5),
  );
  const y = net.forward(device.ones([2, 3, 9, 8]));
  t.deepEqual([...y.shape], [2, 5]);
  t.deepEqual(
    [...net.namedParameters().keys()],
    ['0.weight', '1.gamma', '1.beta', '3.gamma', '3.beta', '6.weight', '6.bias'].map((name) => `layers.${name}`),
  );
  t.throws(() => new Sequential(), { code: 'INVALID_ARGUMENT', message: /at least one layer/ });
});

eachDevice(test, 'zeroGrad and dispose reach every parameter', (t, device) => {
  const net = new Sequential(new Linear(device, 3, 3), new Linear(device, 3, 2, { bias: false }));
  t.is(net.parameters().length, 3);
  for (const parameter of net.parameters()) parameter.setGrad(device.ones(parameter.shape).handle.share());
  net.zeroGrad();
  t.true(net.parameters().every((parameter) => parameter.grad === null));
  const all = net.parameters();
  net.dispose();
  t.true(all.every((parameter) => parameter.disposed));
});

const makeNet = (device: Parameters<Parameters<typeof eachDevice>[2]>[1], seed: number) =>
  new Sequential(new Conv2d(device, 3, 8, 3, { random: new HostRandom(seed) }), new ReferenceKalmanNorm2d(device, 8));

eachDevice(test, 'stateValues and loadStateDict: a second network becomes the first', async (t, device) => {
  const [from, to] = [makeNet(device, 1), makeNet(device, 2)];
  from.forward(
    device.tensor(
      Float32Array.from({ length: 2 * 3 * 25 }, (_, i) => Math.sin(i)),
      [2, 3, 5, 5],
    ),
  );
  const state = await from.stateValues();
  t.deepEqual(state.get('layers.0.weight')?.shape, [8, 3, 3, 3]);
  to.loadStateDict(state);
  for (const [name, tensor] of to.stateDict()) t.is(bits(await tensor.data()), bits(state.get(name)!.data), name);
});

const spoilers: { title: string; spoil: (state: StateValues) => void; message: RegExp }[] = [
  {
    title: 'missing entry',
    spoil: (state) => state.delete('layers.1.runningMean'),
    message: /layers\.1\.runningMean \[8\] is missing/,
  },
  {
    title: 'extra entry',
    spoil: (state) => state.set('layers.7.gamma', { shape: [1], data: new Float32Array(1) }),
    message: /layers\.7\.gamma is not part of this module/,
  },
  {
    title: 'misshapen entry',
    spoil: (state) => state.set('layers.0.weight', { shape: [8, 3, 9], data: new Float32Array(216) }),
    message: /layers\.0\.weight: expected \[8, 3, 3, 3\], got \[8, 3, 9\]/,
  },
  {
    title: 'entry of another type',
    spoil: (state) => state.set('layers.1.beta', { shape: [8], data: new Int32Array(8) }),
    message: /layers\.1\.beta: expected float32, got Int32Array/,
  },
  {
    title: 'too few values',
    spoil: (state) => state.set('layers.1.beta', { shape: [8], data: new Float32Array(7) }),
    message: /layers\.1\.beta: expected 8 values, got 7/,
  },
];
for (const { title, spoil, message } of spoilers) {
  eachDevice(test, `loadStateDict: ${title}, nothing is loaded`, async (t, device) => {
    const net = makeNet(device, 3);
    const before = await net.stateValues();
    const state = await makeNet(device, 4).stateValues();
    spoil(state);
    t.throws(() => net.loadStateDict(state), { code: 'STATE_MISMATCH', message });
    for (const [name, tensor] of net.stateDict()) t.is(bits(await tensor.data()), bits(before.get(name)!.data), name);
  });
}

eachDevice(test, 'loadStateDict: all faults in one message', async (t, device) => {
  const error = t.throws(() => makeNet(device, 3).loadStateDict(new Map()), { code: 'STATE_MISMATCH' });
  for (const name of ['layers.0.weight', 'layers.1.gamma', 'layers.1.runningVariance'])
    t.regex(error.message, new RegExp(name));
});
