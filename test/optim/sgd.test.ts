import test from 'ava';
import { backward, type Format, Sgd, scale, type Tensor } from '../../lib/index.js';
import { dot, type NdArray } from '../support/array.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';

/** Parameters of all forms, one of them large enough to be cut among threads. */
const forms: { name: string; shape: readonly number[]; format?: Format; decays: boolean }[] = [
  { name: 'filter', shape: [16, 5, 3, 3], format: 'filter', decays: true },
  { name: 'blocked filter', shape: [24, 16, 3, 3], format: 'filter', decays: true },
  { name: 'matrix', shape: [300, 170], decays: true },
  { name: 'bias', shape: [10], decays: false },
  { name: 'few values', shape: [3], decays: false },
];

eachDevice(test, 'Sgd: momentum, weight decay of matrices and filters, a changing rate', async (t, device, random) => {
  const momentum = 0.9;
  const weightDecay = 0.05;
  const upload = (x: NdArray, format?: Format) =>
    device.tensor(Float32Array.from(x.data), x.shape, format ? { format } : {});
  const slots = forms.map(({ name, shape, format, decays }) => {
    const start = random.normals(shape);
    const tensor = upload(start, format);
    tensor.requiresGrad = true;
    return { name, format, decays, tensor, w: start.data, acc: new Float64Array(start.data.length) };
  });
  const parameters = new Map<string, Tensor>(slots.map(({ name, tensor }) => [name, tensor]));
  const optimizer = new Sgd(device, parameters, 0.1, { momentum, weightDecay });
  t.deepEqual(
    [...optimizer.namedBuffers().keys()],
    forms.map(({ name }) => name),
  );

  for (const rate of [0.1, 0.1, 0.01]) {
    optimizer.learningRate = rate;
    for (const { tensor, format, w, acc, decays } of slots) {
      const gradient = random.normals(tensor.shape);
      tensor.zeroGrad();
      backward(scale(tensor, 1), upload(gradient, format));
      for (let i = 0; i < w.length; i++) {
        acc[i] = momentum * acc[i]! + gradient.data[i]! + (decays ? weightDecay * w[i]! : 0);
        w[i]! -= rate * acc[i]!;
      }
    }
    optimizer.step();
  }
  for (const { name, tensor, w, acc } of slots) {
    closeTo(t, await tensor.data(), w, 3 * tolerance.elementwise, name);
    const buffer = optimizer.namedBuffers().get(name)!;
    closeTo(t, await buffer.data(), acc, 3 * tolerance.elementwise, `momentum of ${name}`);
  }
  const squares = slots.reduce((sum, { w, decays }) => sum + (decays ? dot(w, w) : 0), 0);
  closeTo(t, [await optimizer.penalty()], [(weightDecay * squares) / 2], tolerance.elementwise, 'penalty');
  optimizer.dispose();
});

eachDevice(test, 'Sgd: which parameters decay can be chosen by name', async (t, device) => {
  const parameters = new Map(
    ['a', 'b'].map((name) => [name, device.tensor([1, 2], [2], { requiresGrad: true })] as const),
  );
  const optimizer = new Sgd(device, parameters, 1, { momentum: 0, weightDecay: 0.5, decays: (name) => name === 'b' });
  for (const tensor of parameters.values()) backward(scale(tensor, 0), device.ones([2]));
  optimizer.step();
  t.deepEqual([...(await parameters.get('a')!.data())], [1, 2]);
  t.deepEqual([...(await parameters.get('b')!.data())], [0.5, 1]);
});

eachDevice(
  test,
  'Sgd: a parameter without a gradient is an error that names it, and nothing moves',
  async (t, device) => {
    const make = () => device.tensor([1, 2], [2], { requiresGrad: true });
    const parameters = new Map([
      ['used', make()],
      ['layer.unused', make()],
    ]);
    const optimizer = new Sgd(device, parameters, 1);
    backward(scale(parameters.get('used')!, 1), device.ones([2]));
    t.throws(() => optimizer.step(), { code: 'INVALID_STATE', message: /layer\.unused has no gradient/ });
    t.deepEqual([...(await parameters.get('used')!.data())], [1, 2]);
  },
);

eachDevice(test, 'Sgd: goes on from its state as if it had never stopped', async (t, device, random) => {
  const start = random.normals([4, 3]);
  const gradients = [1, 2, 3, 4].map(() => random.normals([4, 3]));
  const make = (values: ArrayLike<number>, rate: number) => {
    const weight = device.tensor(Float32Array.from(values), [4, 3], { requiresGrad: true });
    return { weight, optimizer: new Sgd(device, new Map([['w', weight]]), rate, { weightDecay: 0.1 }) };
  };
  const step = ({ weight, optimizer }: ReturnType<typeof make>, gradient: NdArray) => {
    weight.zeroGrad();
    backward(scale(weight, 1), device.tensor(Float32Array.from(gradient.data), [4, 3]));
    optimizer.step();
  };
  const whole = make(start.data, 0.2);
  for (const gradient of gradients.slice(0, 2)) step(whole, gradient);
  whole.optimizer.learningRate = 0.05;
  const state = await whole.optimizer.stateValues();
  t.deepEqual([...state.keys()], ['learningRate', 'momentum.w']);

  const resumed = make(await whole.weight.data(), 0.2);
  t.throws(() => resumed.optimizer.loadStateDict(new Map([['other', { shape: [1], data: Float32Array.of(1) }]])), {
    code: 'STATE_MISMATCH',
    message: /2 missing, 1 unexpected.*other is not part of this optimizer/,
  });
  const broken = new Map([...state, ['learningRate', { shape: [1], data: Float32Array.of(-1) }] as const]);
  t.throws(() => resumed.optimizer.loadStateDict(broken), { code: 'INVALID_ARGUMENT', message: /learningRate/ });
  resumed.optimizer.loadStateDict(state);
  t.is(resumed.optimizer.learningRate, Math.fround(0.05));
  for (const gradient of gradients.slice(2)) {
    step(whole, gradient);
    step(resumed, gradient);
  }
  t.deepEqual(await resumed.weight.data(), await whole.weight.data());
});
