import test from 'ava';
import { backward, crossEntropy } from '../../lib/index.js';
import { vector } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

for (const [n, classes, spread] of [
  [1, 1, 1],
  [5, 10, 1],
  [128, 10, 5],
  [7, 100, 30],
  [33, 3, 1e-3],
] as const) {
  eachDevice(test, `crossEntropy: ${n} samples, ${classes} classes, spread ${spread}`, async (t, device, random) => {
    const labels = Int32Array.from({ length: n }, () => random.below(classes));
    await checkOp(t, device, random, () => ({
      inputs: { logits: random.normals([n, classes], 2, spread) },
      run: ({ logits }) => {
        const { loss, errors } = crossEntropy(logits, device.tensor(labels));
        return [loss, errors];
      },
      reference: ({ logits }) => {
        const { loss, errors } = reference.crossEntropy(logits, labels);
        return [vector([loss]), vector([errors])];
      },
      tolerance: tolerance.elementwise,
    }));
  });
}

eachDevice(test, 'crossEntropy: logits beyond the range of exp', async (t, device) => {
  const logits = device.tensor([1000, -1000, 0, 1e4, 1e4 - 1, 0], [2, 3]);
  const { loss, errors } = crossEntropy(logits, device.tensor(Int32Array.of(1, 0)));
  closeTo(t, await loss.data(), [(2000 + Math.log1p(Math.exp(-1))) / 2], tolerance.elementwise, 'loss');
  t.is(await errors.item(), 1);
});

eachDevice(test, 'crossEntropy: NaN in a sample and a label outside make the loss NaN', async (t, device) => {
  const labels = device.tensor(Int32Array.of(0, 1));
  const nan = crossEntropy(device.tensor([1, Number.NaN, 1, 2], [2, 2]), labels);
  t.is(await nan.loss.item(), Number.NaN);
  t.is(await nan.errors.item(), 1);
  for (const label of [-1, 2]) {
    const logits = device.tensor([3, 1, 1, 2], [2, 2], { requiresGrad: true });
    const outside = crossEntropy(logits, device.tensor(Int32Array.of(0, label)));
    backward(outside.loss);
    t.is(await outside.loss.item(), Number.NaN);
    t.is(await outside.errors.item(), 1);
    t.deepEqual([...(await logits.grad!.data())].slice(2), [0, 0]);
  }
});
