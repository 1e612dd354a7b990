import test from 'ava';
import {
  abs,
  add,
  clamp,
  exp,
  type Format,
  gelu,
  leakyRelu,
  log,
  neg,
  pow,
  reciprocal,
  relu,
  scale,
  sigmoid,
  silu,
  softplus,
  sqrt,
  type Tensor,
  tanh,
} from '../../lib/index.js';
import { map } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

const shapes: { shape: readonly number[]; format?: Format }[] = [
  { shape: [1] },
  { shape: [37] },
  { shape: [3, 5] },
  { shape: [3, 5, 7, 3] },
  { shape: [2, 16, 4, 5] },
  { shape: [2, 3, 5, 3], format: 'plain' },
  { shape: [5, 3, 3, 3], format: 'filter' },
];

for (const { shape, format } of shapes) {
  const form = format ? { format } : {};
  const name = `${format ?? 'default format'} [${shape.join(', ')}]`;

  eachDevice(test, `add: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { a: { ...random.normals(shape), ...form }, b: { ...random.normals(shape), ...form } },
      run: ({ a, b }) => [add(a, b)],
      reference: ({ a, b }) => [reference.add(a, b)],
      tolerance: tolerance.exact,
    }));
  });

  eachDevice(test, `scale: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...form } },
      run: ({ x }) => [scale(x, -0.75)],
      reference: ({ x }) => [map(x, (value) => -0.75 * value)],
      tolerance: tolerance.exact,
    }));
  });

  eachDevice(test, `relu: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...form } },
      run: ({ x }) => [relu(x)],
      reference: ({ x }) => [reference.relu(x)],
      tolerance: tolerance.exact,
    }));
  });
}

eachDevice(test, 'relu: NaN stays NaN, infinities and zeros', async (t, device) => {
  const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, -1e-40, 1e-40, 3, -3];
  const y = await relu(device.tensor(values)).data();
  const expected = [Number.NaN, Number.POSITIVE_INFINITY, 0, 0, 0, 0, Math.fround(1e-40), 3, 0];
  t.deepEqual(
    [...y].map((value) => value + 0),
    expected,
  );
});

/** Φ(x) by the trapezoidal rule, which is exact to rounding for a function this smooth. */
function normalBelow(x: number): number {
  const steps = 4000;
  const h = (x + 12) / steps;
  let total = 0;
  for (let i = 0; i <= steps; i++) total += Math.exp(-((-12 + i * h) ** 2) / 2) * (i % steps ? 1 : 0.5);
  return (total * h) / Math.sqrt(2 * Math.PI);
}

const functions: { name: string; run(x: Tensor): Tensor; plain(x: number): number; from: number; to: number }[] = [
  { name: 'exp', run: exp, plain: Math.exp, from: -3, to: 3 },
  { name: 'log', run: log, plain: Math.log, from: 0.1, to: 5 },
  { name: 'sqrt', run: sqrt, plain: Math.sqrt, from: 0.1, to: 5 },
  { name: 'reciprocal', run: reciprocal, plain: (x) => 1 / x, from: 0.3, to: 3 },
  { name: 'abs', run: abs, plain: Math.abs, from: -2, to: -0.1 },
  { name: 'neg', run: neg, plain: (x) => -x, from: -2, to: 2 },
  { name: 'tanh', run: tanh, plain: Math.tanh, from: -3, to: 3 },
  { name: 'sigmoid', run: sigmoid, plain: (x) => 1 / (1 + Math.exp(-x)), from: -5, to: 5 },
  { name: 'gelu', run: gelu, plain: (x) => x * normalBelow(x), from: -4, to: 4 },
  { name: 'silu', run: silu, plain: (x) => x / (1 + Math.exp(-x)), from: -5, to: 5 },
  { name: 'softplus', run: softplus, plain: (x) => Math.log1p(Math.exp(x)), from: -5, to: 5 },
  { name: 'leakyRelu below 0', run: (x) => leakyRelu(x, 0.2), plain: (x) => 0.2 * x, from: -3, to: -0.1 },
  { name: 'leakyRelu above 0', run: (x) => leakyRelu(x, 0.2), plain: (x) => x, from: 0.1, to: 3 },
  { name: 'pow', run: (x) => pow(x, -1.5), plain: (x) => x ** -1.5, from: 0.3, to: 3 },
  { name: 'square', run: (x) => pow(x, 2), plain: (x) => x * x, from: -3, to: 3 },
  { name: 'clamp within', run: (x) => clamp(x, -1, 1), plain: (x) => x, from: -0.9, to: 0.9 },
  { name: 'clamp above', run: (x) => add(clamp(x, -1, 1), x), plain: (x) => 1 + x, from: 1.1, to: 3 },
];

for (const { name, run, plain, from, to } of functions) {
  for (const shape of [[37], [2, 16, 3, 5], [2, 3, 5, 1]]) {
    eachDevice(test, `${name}: [${shape.join(', ')}]`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: { x: random.uniforms(shape, from, to) },
        run: ({ x }) => [run(x)],
        reference: ({ x }) => [map(x, plain)],
        tolerance: 2 * tolerance.elementwise,
        // Slopes are sums whose terms may cancel.
        gradientTolerance: 4 * tolerance.elementwise,
      }));
    });
  }
}

eachDevice(test, 'functions of one value: far out, and NaN', async (t, device) => {
  const x = device.tensor([-200, 200, Number.NaN]);
  t.deepEqual([...(await softplus(x).data())], [0, 200, Number.NaN]);
  t.deepEqual([...(await gelu(x).data())], [-0, 200, Number.NaN]);
  t.deepEqual([...(await clamp(x, -1, Number.POSITIVE_INFINITY).data())], [-1, 200, Number.NaN]);
  t.deepEqual([...(await leakyRelu(x, 0.5).data())], [-100, 200, Number.NaN]);
  t.throws(() => clamp(x, 1, -1), { code: 'INVALID_ARGUMENT' });
  t.throws(() => pow(x, Number.NaN), { code: 'INVALID_ARGUMENT' });
});
