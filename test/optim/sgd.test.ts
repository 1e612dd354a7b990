import test from 'ava';
import { backward, Sgd, scale } from '../../lib/index.js';
import { dot, type NdArray } from '../support/array.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { drawGradients, drawSlots, parametersOf, stepWithSlopes } from '../support/optimizer.js';

for (const nesterov of [false, true]) {
  const title = `Sgd${nesterov ? ', Nesterov' : ''}: momentum, weight decay of matrices and filters, a changing rate`;
  eachDevice(test, title, async (t, device, random) => {
    const momentum = 0.9;
    const weightDecay = 0.05;
    const slots = drawSlots(device, random);
    const accs = slots.map(({ w }) => new Float64Array(w.length));
    const optimizer = new Sgd(device, parametersOf(slots), 0.1, { momentum, weightDecay, nesterov });
    t.deepEqual(
      [...optimizer.namedBuffers().keys()],
      slots.map(({ name }) => name),
    );

    for (const rate of [0.1, 0.1, 0.01]) {
      optimizer.learningRate = rate;
      drawGradients(slots, random).forEach(({ data }, s) => {
        const { w, decays } = slots[s]!;
        const acc = accs[s]!;
        for (let i = 0; i < w.length; i++) {
          const slope = data[i]! + (decays ? weightDecay * w[i]! : 0);
          acc[i] = momentum * acc[i]! + slope;
          w[i]! -= rate * (nesterov ? slope + momentum * acc[i]! : acc[i]!);
        }
      });
      stepWithSlopes(slots, optimizer);
    }
    for (const [s, { name, tensor, w }] of slots.entries()) {
      closeTo(t, await tensor.data(), w, 3 * tolerance.elementwise, name);
      const buffer = optimizer.namedBuffers().get(name)!;
      closeTo(t, await buffer.data(), accs[s]!, 3 * tolerance.elementwise, `momentum of ${name}`);
    }
    const squares = slots.reduce((sum, { w, decays }) => sum + (decays ? dot(w, w) : 0), 0);
    closeTo(t, [await optimizer.penalty()], [(weightDecay * squares) / 2], tolerance.elementwise, 'penalty');
    optimizer.dispose();
  });
}

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
