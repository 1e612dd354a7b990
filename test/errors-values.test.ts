import test from 'ava';
import {
  add,
  avgPool2d,
  BatchNorm2d,
  backward,
  batchNorm,
  CifarResNet,
  Conv2d,
  conv2d,
  crossEntropy,
  type Device,
  DeviceRandom,
  GroupNorm,
  groupNorm,
  KalmanNormError,
  kalmanNorm,
  kalmanResidual,
  Linear,
  linear,
  openDevice,
  ReferenceKalmanNorm2d,
  relu,
  Sgd,
  samplePrior,
  scale,
  type Tensor,
} from '../lib/index.js';

import { belief, type Failure, failures, filter, image, ints, none } from './support/failures.js';

const numbers: Failure[] = [];
for (const bad of [Number.NaN, -0.1]) {
  const message = (name: string) => new RegExp(`${name}.*got ${bad}`, 'i');
  numbers.push(
    [
      `epsilon ${bad}`,
      (d) => batchNorm(image(d), none, { epsilon: bad }),
      'INVALID_ARGUMENT',
      message('batchNorm: epsilon'),
    ],
    [
      `groupNorm epsilon ${bad}`,
      (d) => groupNorm(image(d), 1, none, { epsilon: bad }),
      'INVALID_ARGUMENT',
      message('groupNorm: epsilon'),
    ],
    [
      `layer epsilon ${bad}`,
      (d) => new BatchNorm2d(d, 3, { epsilon: bad }),
      'INVALID_ARGUMENT',
      message('BatchNorm2d: epsilon'),
    ],
    [
      `momentum ${bad}`,
      (d) => new BatchNorm2d(d, 3, { momentum: bad }),
      'INVALID_ARGUMENT',
      message('BatchNorm2d: momentum'),
    ],
    [
      `splits ${bad}`,
      (d) => new ReferenceKalmanNorm2d(d, 3, { splits: bad }),
      'INVALID_ARGUMENT',
      message('ReferenceKalmanNorm2d: splits'),
    ],
    [
      `op gain ${bad}`,
      (d) => kalmanNorm(image(d), null, none, { gain: bad }),
      'INVALID_ARGUMENT',
      message('kalmanNorm: gain'),
    ],
    [
      `op guard ${bad}`,
      (d) => kalmanNorm(image(d), null, none, { gain: 1, guard: bad }),
      'INVALID_ARGUMENT',
      message('kalmanNorm: guard'),
    ],
    [
      `gain ${bad}`,
      (d) => new ReferenceKalmanNorm2d(d, 3, { gain: bad }),
      'INVALID_ARGUMENT',
      message('ReferenceKalmanNorm2d: gain'),
    ],
    [
      `guard ${bad}`,
      (d) => new ReferenceKalmanNorm2d(d, 3, { guard: bad }),
      'INVALID_ARGUMENT',
      message('ReferenceKalmanNorm2d: guard'),
    ],
    [
      `channels ${bad}`,
      (d) => new ReferenceKalmanNorm2d(d, bad),
      'INVALID_ARGUMENT',
      message('ReferenceKalmanNorm2d: channels'),
    ],
    [`kernel ${bad}`, (d) => new Conv2d(d, 3, 3, bad), 'INVALID_ARGUMENT', message('Conv2d: kernel')],
    [`features ${bad}`, (d) => new Linear(d, bad, 3), 'INVALID_ARGUMENT', message('Linear: inFeatures')],
    [
      `stride ${bad}`,
      (d) => conv2d(image(d), filter(d), { stride: bad }),
      'INVALID_ARGUMENT',
      message('conv2d: stride'),
    ],
    [
      `padding ${bad}`,
      (d) => conv2d(image(d), filter(d), { padding: bad }),
      'INVALID_ARGUMENT',
      message('conv2d: padding'),
    ],
    [`groups ${bad}`, (d) => new GroupNorm(d, bad, 4), 'INVALID_ARGUMENT', message('GroupNorm: groups')],
    [`window ${bad}`, (d) => avgPool2d(image(d), bad), 'INVALID_ARGUMENT', message('avgPool.*')],
    [`learning rate ${bad}`, (d) => new Sgd(d, new Map(), bad), 'INVALID_ARGUMENT', message('Sgd: learningRate')],
    [
      `weight decay ${bad}`,
      (d) => new Sgd(d, new Map(), 1, { weightDecay: bad }),
      'INVALID_ARGUMENT',
      message('Sgd: weightDecay'),
    ],
    [
      `SGD momentum ${bad}`,
      (d) => new Sgd(d, new Map(), 1, { momentum: bad }),
      'INVALID_ARGUMENT',
      message('Sgd: momentum'),
    ],
    [`seed ${bad}`, (d) => new DeviceRandom(d, bad), 'INVALID_ARGUMENT', message('DeviceRandom: seed')],
    [
      `blocks ${bad}`,
      (d) => new CifarResNet(d, { n: bad, norm: { type: 'group' } }),
      'INVALID_ARGUMENT',
      message('CifarResNet: n'),
    ],
    [`threads ${bad}`, () => openDevice('cpu', { threads: bad }), 'INVALID_ARGUMENT', message('openDevice: threads')],
    [
      `memory limit ${bad}`,
      () => openDevice('cpu', { memoryLimit: bad }),
      'INVALID_ARGUMENT',
      message('openDevice: memoryLimit'),
    ],
  );
}
numbers.push(
  ['factor NaN', (d) => scale(d.ones([1]), Number.NaN), 'INVALID_ARGUMENT', /scale: factor .*nan/i],
  [
    'gain above 1',
    (d) => new ReferenceKalmanNorm2d(d, 3, { gain: 1.1 }),
    'INVALID_ARGUMENT',
    /ReferenceKalmanNorm2d: gain .*1\.1/,
  ],
  [
    'stride 0',
    (d) => new Conv2d(d, 3, 3, 3, { stride: 0 }).forward(image(d, 1, 3)),
    'INVALID_ARGUMENT',
    /conv2d: stride .*got 0/,
  ],
  [
    'three paddings',
    (d) => conv2d(image(d), filter(d), { padding: [1, 2, 3] as never }),
    'INVALID_ARGUMENT',
    /conv2d: padding .*1,2,3/,
  ],
  [
    'running statistics',
    (d) => new BatchNorm2d(d, 3, { runningStats: 'last' as never }),
    'INVALID_ARGUMENT',
    /runningStats .*"last"/,
  ],
  [
    'one class',
    (d) => new CifarResNet(d, { classes: 1, norm: { type: 'group' } }),
    'INVALID_ARGUMENT',
    /classes .*got 1/,
  ],
  [
    'no noise in training',
    (d) => new CifarResNet(d, { n: 1, norm: { type: 'reference-kalman', gain: 0.1 } }).forward(image(d, 2, 3, 8, 8)),
    'INVALID_ARGUMENT',
    /noise/,
  ],
  ['device name', () => openDevice('gpu'), 'INVALID_ARGUMENT', /openDevice: expected "cpu" or "cuda:N", got "gpu"/],
  ['missing device', () => openDevice('cuda:99'), 'DEVICE_UNAVAILABLE', /cuda:99/],
);

failures(test, 'hyper-parameters', numbers);

const twoDevices: [title: string, call: (a: Device, b: Device) => unknown][] = [
  ['add', (a, b) => add(a.ones([3]), b.ones([3]))],
  ['conv2d', (a, b) => conv2d(image(a), filter(b))],
  ['linear', (a, b) => linear(a.ones([2, 3]), b.ones([3, 2]), null)],
  ['batchNorm', (a, b) => batchNorm(image(a), { gamma: b.ones([6]), beta: null })],
  ['kalmanNorm', (a, b) => kalmanNorm(image(a), belief(b, 6, 1), none, { gain: 1 })],
  ['crossEntropy', (a, b) => crossEntropy(a.ones([4, 2]), ints(b))],
  ['DeviceRandom', (a, b) => samplePrior(belief(a, 4, 2), { height: 2, width: 2 }, new DeviceRandom(b, 1))],
];
for (const [title, call] of twoDevices) {
  test(`tensors of two devices: ${title}`, (t) => {
    using a = openDevice('cpu', { threads: 1 });
    using b = openDevice('cpu', { threads: 2 });
    const error = t.throws(() => call(a, b), { instanceOf: KalmanNormError });
    t.is(error.code, 'DEVICE_MISMATCH', error.message);
    t.regex(error.message, new RegExp(`^${title === 'DeviceRandom' ? 'samplePrior' : title}: .* is on another device`));
  });
}

test('use after disposal: tensors', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const tensor = device.ones([3]);
  const other = device.ones([3]);
  tensor.dispose();
  tensor.dispose();
  t.true(tensor.disposed);
  const uses: (() => unknown)[] = [
    () => add(tensor, other),
    () => add(other, tensor),
    () => relu(tensor),
    () => tensor.shape,
    () => tensor.detach(),
    () => tensor.fill(1),
    () => tensor.write(new Float32Array(3)),
    () => other.copyFrom(tensor),
  ];
  for (const use of uses) t.throws(use, { code: 'DISPOSED' }, String(use));
  await t.throwsAsync(tensor.data(), { code: 'DISPOSED' });
});

test('use after disposal: devices and modules', (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const conv = new Conv2d(device, 3, 4, 3);
  const x = device.ones([1, 3, 5, 5]);
  conv.dispose();
  t.throws(() => conv.forward(x), { code: 'DISPOSED' });
  device.dispose();
  device.dispose();
  t.throws(() => device.ones([2]), { code: 'DISPOSED', message: /device: used after its disposal/ });
  t.throws(() => relu(x), { code: 'DISPOSED', message: /its device's disposal/ });
  x.dispose();
});

test('a failed call changes nothing: tensors, memory, tape, running averages', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const norm = new ReferenceKalmanNorm2d(device, 6, { splits: 3 });
  const x = image(device);
  x.requiresGrad = true;
  const weight = filter(device);
  const live = device.memoryStats().live;
  const failures: (() => Tensor | object)[] = [
    () => norm.forward(x),
    () => conv2d(x, weight, { stride: 0 }),
    () => batchNorm(x, none, { splits: 3 }),
    () => kalmanNorm(x, null, none, { gain: 2 }),
    () => add(x, weight),
    () => kalmanResidual(x, belief(device, 12, 2), x),
  ];
  for (const failure of failures.slice(0, 5)) t.throws(failure, { instanceOf: KalmanNormError });
  t.is(device.memoryStats().live, live);
  t.throws(failures[5]!, { code: 'SHAPE_MISMATCH' });
  t.deepEqual([...(await norm.runningMean.data())], [0, 0, 0, 0, 0, 0]);
  t.deepEqual([...(await norm.runningVariance.data())], [1, 1, 1, 1, 1, 1]);
  t.true((await x.data()).every((value) => value === 1));
  // The device goes on.
  backward(relu(x), image(device));
  t.true((await x.grad!.data()).every((value) => value === 1));
});

test('item of several values is an error', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  await t.throwsAsync(device.ones([2]).item(), { code: 'SHAPE_MISMATCH', message: /item: .*\[2\]/ });
});
