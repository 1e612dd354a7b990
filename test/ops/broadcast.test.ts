import test from 'ava';
import {
  add,
  backward,
  div,
  equal,
  type Format,
  greater,
  maximum,
  minimum,
  mul,
  type Operand,
  sub,
  type Tensor,
  where,
} from '../../lib/index.js';
import { map } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { broadcast } from '../support/reference-arrays.js';

const functions: {
  name: string;
  run: (a: Operand, b: Operand) => Tensor;
  plain: (a: number, b: number) => number;
}[] = [
  { name: 'add', run: add, plain: (a, b) => a + b },
  { name: 'sub', run: sub, plain: (a, b) => a - b },
  { name: 'mul', run: mul, plain: (a, b) => a * b },
  { name: 'div', run: div, plain: (a, b) => a / b },
  { name: 'maximum', run: maximum, plain: Math.max },
  { name: 'minimum', run: minimum, plain: Math.min },
];

interface Form {
  shape: readonly number[];
  format?: Format;
}
const forms: [a: Form, b: Form][] = [
  [{ shape: [] }, { shape: [3] }],
  [{ shape: [37] }, { shape: [37] }],
  [{ shape: [3, 5] }, { shape: [5] }],
  [{ shape: [3, 1] }, { shape: [1, 5] }],
  [{ shape: [2, 16, 4, 5] }, { shape: [2, 16, 4, 5] }],
  [{ shape: [2, 16, 4, 5] }, { shape: [1, 16, 1, 1] }],
  [{ shape: [2, 5, 4, 3] }, { shape: [2, 5, 1, 1], format: 'plain' }],
  [{ shape: [2, 24, 3, 2], format: 'plain' }, { shape: [2, 24, 3, 2] }],
  [
    { shape: [16, 8, 3, 3], format: 'filter' },
    { shape: [16, 1, 1, 1], format: 'plain' },
  ],
  [
    { shape: [24, 5, 3, 3], format: 'filter' },
    { shape: [24, 5, 3, 3], format: 'plain' },
  ],
  [{ shape: [1, 8, 2, 1] }, { shape: [3, 1, 1, 4] }],
];

for (const [left, right] of forms) {
  const title = [left, right].map(({ shape, format }) => `${format ?? 'default'} [${shape.join(', ')}]`).join(' and ');
  for (const { name, run, plain } of functions) {
    eachDevice(test, `${name}: ${title}`, async (t, device, random) => {
      const away = (form: Form, low: number) => ({ ...random.uniforms(form.shape, low, low + 1), ...format(form) });
      await checkOp(t, device, random, () => ({
        // Apart, so that neither a quotient nor a choice is near its kink; a third of the choices go the other way.
        inputs: { a: away(left, random.below(3) ? 0.5 : 3.1), b: away(right, 1.6) },
        run: ({ a, b }) => [run(a, b)],
        reference: ({ a, b }) => [broadcast(a, b, plain)],
        tolerance: tolerance.elementwise,
        gradientTolerance: tolerance.sum(60),
      }));
    });
  }
}

const format = (form: Form) => (form.format ? { format: form.format } : {});

eachDevice(test, 'arithmetic with numbers on either side', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.uniforms([2, 8, 3, 3], 1, 2) },
    run: ({ x }) => [add(x, 2), sub(3, x), mul(0.5, x), div(1, x), div(x, 4), maximum(x, 0.5), minimum(x, 0.5)],
    reference: ({ x }) =>
      [
        (v: number) => v + 2,
        (v: number) => 3 - v,
        (v: number) => v / 2,
        (v: number) => 1 / v,
        (v: number) => v / 4,
        (v: number) => v,
        () => 0.5,
      ].map((body) => map(x, body)),
    tolerance: tolerance.elementwise,
  }));
});

eachDevice(test, 'where: a NaN that is not chosen stays out, of the gradients too', async (t, device) => {
  const a = device.tensor([1, Number.NaN, 3], [3], { requiresGrad: true });
  const b = device.tensor([Number.NaN, 5, 6], [3], { requiresGrad: true });
  const condition = greater(device.tensor([1, 0, 2]), 0.5);
  const y = where(condition, a, b);
  t.deepEqual([...(await y.data())], [1, 5, 3]);
  backward(y, device.tensor([7, 8, 9]));
  t.deepEqual([...(await a.grad!.data())], [7, 0, 9]);
  t.deepEqual([...(await b.grad!.data())], [0, 8, 0]);
});

eachDevice(test, 'comparisons and ties', async (t, device) => {
  const a = device.tensor([1, 2, Number.NaN], [3], { requiresGrad: true });
  const b = device.tensor([1, 1, 0]);
  t.deepEqual([...(await equal(a, b).data())], [1, 0, 0]);
  t.deepEqual([...(await greater(a, b).data())], [0, 1, 0]);
  const y = maximum(a, b);
  t.deepEqual([...(await y.data())], [1, 2, Number.NaN]);
  backward(y, device.ones([3]));
  t.deepEqual([...(await a.grad!.data())].slice(0, 2), [0.5, 1]);
});

eachDevice(test, 'arithmetic: wrong operands are typed errors', (t, device) => {
  t.throws(() => add(device.ones([2, 3]), device.ones([2, 4])), {
    code: 'SHAPE_MISMATCH',
    message: /\[2, 3\] and \[2, 4\]/,
  });
  t.throws(() => mul(1, 2), { code: 'INVALID_ARGUMENT', message: /mul: expected two tensors/ });
  t.throws(() => add(device.ones([2]), device.tensor(Int32Array.of(1, 2))), { code: 'DTYPE_MISMATCH' });
});
