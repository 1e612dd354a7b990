import test from 'ava';
import { Adam, AdamW, LossScaler } from '../../lib/index.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { drawGradients, drawSlots, parametersOf, setGradients, stepWithSlopes } from '../support/optimizer.js';

// A large epsilon: the first step is slope / (|slope| + epsilon), which with a small one multiplies the rounding of a slope
// near 0 (gradient and weight decay that cancel) by 1 / epsilon.
const options = { beta1: 0.8, beta2: 0.99, epsilon: 0.05, weightDecay: 0.05 };

/** One step of one weight in float64. */
function reference(moments: [number, number], w: number, gradient: number, rate: number, decay: number, t: number) {
  const { beta1, beta2, epsilon } = options;
  moments[0] = beta1 * moments[0] + (1 - beta1) * gradient;
  moments[1] = beta2 * moments[1] + (1 - beta2) * gradient ** 2;
  const [m, v] = [moments[0] / (1 - beta1 ** t), moments[1] / (1 - beta2 ** t)];
  return w * (1 - decay) - (rate * m) / (Math.sqrt(v) + epsilon);
}

for (const [name, Kind] of Object.entries({ Adam, AdamW })) {
  eachDevice(test, `${name}: bias correction, weight decay, a changing rate`, async (t, device, random) => {
    const decoupled = Kind === AdamW;
    const slots = drawSlots(device, random);
    const moments = slots.map(({ w }) => Array.from(w, (): [number, number] => [0, 0]));
    using optimizer = new Kind(device, parametersOf(slots), 0.1, options);
    for (const [step, rate] of [0.1, 0.1, 0.03, 0.01].entries()) {
      optimizer.learningRate = rate;
      drawGradients(slots, random).forEach(({ data }, s) => {
        const { w, decays } = slots[s]!;
        const decay = decays ? options.weightDecay : 0;
        for (let i = 0; i < w.length; i++) {
          const slope = data[i]! + (decoupled ? 0 : decay * w[i]!);
          w[i] = reference(moments[s]![i]!, w[i]!, slope, rate, decoupled ? rate * decay : 0, step + 1);
        }
      });
      stepWithSlopes(slots, optimizer);
    }
    const state = await optimizer.stateValues();
    t.is(state.get('steps')?.data[0], 4);
    for (const [s, { name, tensor, w }] of slots.entries()) {
      closeTo(t, await tensor.data(), w, 4 * tolerance.elementwise, name);
      for (const [k, buffer] of ['first', 'second'].entries()) {
        const expected = moments[s]!.map((pair) => pair[k]!);
        closeTo(t, state.get(`${buffer}.${name}`)!.data, expected, 4 * tolerance.elementwise, `${buffer} of ${name}`);
      }
    }
  });
}

eachDevice(test, 'AdamW: weights without gradients shrink by lr·weightDecay, 0.01 by default', async (t, device) => {
  const weight = device.ones([2, 2], { requiresGrad: true });
  using optimizer = new AdamW(device, [weight], 0.5);
  t.is(optimizer.weightDecay, 0.01);
  weight.grad = device.zeros([2, 2]).keep();
  optimizer.step();
  closeTo(t, await weight.data(), [0.995, 0.995, 0.995, 0.995], tolerance.elementwise, 'weights');
});

eachDevice(test, 'Adam: the correction is exact after many steps', async (t, device) => {
  // After n equal gradients both means are those of a gradient, but for the correction.
  const weight = device.zeros([1], { requiresGrad: true });
  using optimizer = new Adam(device, [weight], 0.01);
  const state = await optimizer.stateValues();
  const steps = 5000;
  const [beta1, beta2, gradient] = [0.9, 0.999, 0.25];
  const at = (power: number, value: number) => Float32Array.of((1 - power) * value);
  optimizer.loadStateDict(
    new Map([
      ...state,
      ['steps', { shape: [1], data: Int32Array.of(steps) }],
      ['first.0', { shape: [1], data: at(beta1 ** steps, gradient) }],
      ['second.0', { shape: [1], data: at(beta2 ** steps, gradient ** 2) }],
    ]),
  );
  weight.grad = device.full([1], gradient).keep();
  optimizer.step();
  closeTo(t, await weight.data(), [-0.01], 2 * tolerance.elementwise, 'weight');
});

eachDevice(test, 'Adam: a step left out under a loss scale is not counted', async (t, device, random) => {
  const slots = drawSlots(device, random);
  const scaler = new LossScaler(device, { initial: 1024 });
  using optimizer = new Adam(device, parametersOf(slots), 0.1);
  slots[1]!.slope.fill(Number.POSITIVE_INFINITY);
  setGradients(slots);
  optimizer.step(scaler);
  t.is((await optimizer.stateValues()).get('steps')?.data[0], 0);
  for (const { name, tensor, w } of slots) t.deepEqual([...(await tensor.data())], [...w], name);
  t.is(await scaler.value(), 512);

  // Gradients come multiplied by the scale.
  for (const { slope } of slots) slope.fill(512 * 0.25);
  setGradients(slots);
  optimizer.step(scaler);
  const state = await optimizer.stateValues();
  t.is(state.get('steps')?.data[0], 1);
  closeTo(t, state.get('first.bias')!.data, new Array(10).fill(0.025), tolerance.elementwise, 'first mean');
  scaler.dispose();
});

eachDevice(test, 'Adam: bad hyper-parameters are refused', (t, device) => {
  const weight = device.ones([1], { requiresGrad: true });
  const cases: [options: object, message: RegExp][] = [
    [{ beta1: 1 }, /Adam: beta1 must be at least 0 and below 1, got 1/],
    [{ beta2: -0.1 }, /Adam: beta2 .*got -0\.1/],
    [{ beta2: Number.NaN }, /Adam: beta2 .*got NaN/],
    [{ epsilon: 0 }, /Adam: epsilon must be a positive number.*got 0/],
    [{ weightDecay: -1 }, /Adam: weightDecay .*got -1/],
  ];
  for (const [bad, message] of cases) {
    t.throws(() => new Adam(device, [weight], 0.1, bad), { code: 'INVALID_ARGUMENT', message });
  }
  t.throws(() => new AdamW(device, [weight], 0.1, { beta1: 2 }), { message: /^AdamW: beta1/ });
});
