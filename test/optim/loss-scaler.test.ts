import test from 'ava';
import { backward, LossScaler, Sgd, scale, scope, type Tensor } from '../../lib/index.js';
import { eachDevice } from '../support/devices.js';

/** A step of a parameter whose gradient is `slope` times the factor. */
function step(weight: Tensor, slope: number, optimizer: Sgd, scaler: LossScaler): void {
  scope(() => {
    weight.zeroGrad();
    backward(scale(weight, slope), scaler.factor);
    optimizer.step(scaler);
  });
}

eachDevice(test, 'LossScaler: gradients are divided by the factor', async (t, device) => {
  const weight = device.tensor([1], [1], { requiresGrad: true });
  const optimizer = new Sgd(device, new Map([['w', weight]]), 0.5, { momentum: 0 });
  const scaler = new LossScaler(device, { initial: 1024 });
  step(weight, 2, optimizer, scaler);
  t.deepEqual([...(await weight.data())], [0]);
  t.is(await scaler.value(), 1024);
  for (const owner of [optimizer, scaler, weight]) owner.dispose();
});

eachDevice(test, 'LossScaler: an overflow leaves the step out and halves the factor', async (t, device) => {
  const weight = device.tensor([1], [1], { requiresGrad: true });
  const optimizer = new Sgd(device, new Map([['w', weight]]), 0.5, { momentum: 0 });
  const scaler = new LossScaler(device, { initial: 2 ** 24 });
  // 3e38·2^24 overflows float32.
  step(weight, 3e38, optimizer, scaler);
  t.deepEqual([...(await weight.data())], [1]);
  t.is(await scaler.value(), 2 ** 23);
  step(weight, 1, optimizer, scaler);
  t.deepEqual([...(await weight.data())], [0.5]);
  t.is(await scaler.value(), 2 ** 23);
  for (const owner of [optimizer, scaler, weight]) owner.dispose();
});

eachDevice(test, 'LossScaler: the factor doubles after the interval, within its bounds', async (t, device) => {
  const weight = device.tensor([1], [1], { requiresGrad: true });
  const optimizer = new Sgd(device, new Map([['w', weight]]), 0, { momentum: 0 });
  const scaler = new LossScaler(device, { initial: 2 ** 22, growthInterval: 2 });
  const factors: number[] = [];
  for (let i = 0; i < 8; i++) {
    step(weight, 1, optimizer, scaler);
    factors.push(Math.log2(await scaler.value()));
  }
  t.deepEqual(factors, [22, 23, 23, 24, 24, 24, 24, 24]);
  for (const owner of [optimizer, scaler, weight]) owner.dispose();
});

eachDevice(test, 'LossScaler: bad options are refused', (t, device) => {
  const refused = (options: object, message: RegExp) =>
    t.throws(() => new LossScaler(device, options), { code: 'INVALID_ARGUMENT', message });
  refused({ initial: 0 }, /initial must be between 1 and 2\^24, got 0/);
  refused({ growthInterval: 1.5 }, /growthInterval must be a whole number.*got 1\.5/);
});
