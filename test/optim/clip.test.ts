import test from 'ava';
import {
  clipGradAdaptive,
  clipGradNorm,
  clipGradValue,
  LossScaler,
  openDevice,
  Sgd,
  type Tensor,
} from '../../lib/index.js';
import { dot } from '../support/array.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { copySlots, copyValues, drawGradients, drawSlots, parametersOf, setGradients } from '../support/optimizer.js';
import { clipAdaptively } from '../support/reference-rivals.js';

const SCALE = 1024;

eachDevice(test, 'clipGradNorm: large gradients get the norm, small ones stay', async (t, device, random) => {
  const slots = drawSlots(device, random);
  const gradients = drawGradients(slots, random);
  const norm = Math.sqrt(gradients.reduce((sum, { data }) => sum + dot(data, data), 0));
  for (const maxNorm of [2 * norm, norm / 8]) {
    setGradients(slots);
    using measured = clipGradNorm(parametersOf(slots), maxNorm);
    t.deepEqual([...measured.shape], [1]);
    closeTo(t, await measured.data(), [norm], 2 * tolerance.exact, 'norm');
    for (const [i, { name, tensor }] of slots.entries()) {
      const expected = gradients[i]!.data.map((g) => g * Math.min(1, maxNorm / norm));
      closeTo(t, await tensor.grad!.data(), expected, maxNorm > norm ? 0 : 2 * tolerance.exact, name);
    }
  }
});

eachDevice(test, 'clipping under a loss scale means gradients without it', async (t, device, random) => {
  const slots = drawSlots(device, random);
  const gradients = drawGradients(slots, random);
  const norm = Math.sqrt(gradients.reduce((sum, { data }) => sum + dot(data, data), 0));
  const scaler = new LossScaler(device, { initial: SCALE });
  for (const { slope } of slots) slope.write(((await slope.data()) as Float32Array).map((g) => g * SCALE));
  setGradients(slots);
  using measured = clipGradNorm(parametersOf(slots), norm / 2, scaler);
  closeTo(t, await measured.data(), [norm], 2 * tolerance.exact, 'norm');
  clipGradValue(parametersOf(slots), 0.25, scaler);
  for (const [i, { name, tensor }] of slots.entries()) {
    const expected = gradients[i]!.data.map((g) => SCALE * Math.min(0.25, Math.max(-0.25, g / 2)));
    closeTo(t, await tensor.grad!.data(), expected, 2 * tolerance.exact, name);
  }
  scaler.dispose();
});

for (const scaled of [false, true]) {
  eachDevice(
    test,
    `clipGradAdaptive: output by output${scaled ? ', under a loss scale' : ''}`,
    async (t, device, random) => {
      const factor = scaled ? SCALE : 1;
      const scaler = scaled ? new LossScaler(device, { initial: SCALE }) : null;
      const made = [
        { shape: [5, 3, 2, 2], format: 'filter' as const, unit: (i: number) => Math.floor(i / 12) },
        { shape: [6, 4], unit: (i: number) => i % 4 },
        { shape: [7], unit: () => 0 },
        // Weights that are smaller than what counts.
        { shape: [3], unit: () => 0, size: 1e-4, steep: 1e-2 },
      ].map(({ shape, format, unit, size = 1, steep = 0.1 }) => {
        const [weight, gradient] = [random.normals(shape, 0, size), random.normals(shape, 0, steep)];
        const options = format ? { format } : {};
        const tensor = device.tensor(Float32Array.from(weight.data), shape, { ...options, requiresGrad: true });
        const values = gradient.data.map((g) => g * factor);
        tensor.grad = device.tensor(Float32Array.from(values), shape, options).keep();
        return { weight, gradient, unit, tensor };
      });
      clipGradAdaptive(
        made.map(({ tensor }) => tensor),
        0.1,
        scaler,
      );
      for (const [i, { weight, gradient, unit, tensor }] of made.entries()) {
        const expected = [...gradient.data];
        for (const own of new Set(expected.map((_, j) => unit(j)))) {
          const at = expected.map((_, j) => j).filter((j) => unit(j) === own);
          const clipped = clipAdaptively(
            at.map((j) => weight.data[j]!),
            at.map((j) => gradient.data[j]!),
            0.1,
          );
          at.forEach((j, k) => {
            expected[j] = factor * clipped[k]!;
          });
        }
        closeTo(t, await tensor.grad!.data(), expected, tolerance.normalization, `gradient ${i}`);
      }
      scaler?.dispose();
    },
  );
}

eachDevice(test, 'clipGradAdaptive: small gradients stay, bit by bit; what it refuses', async (t, device, random) => {
  const slots = drawSlots(device, random);
  drawGradients(slots, random);
  setGradients(slots);
  const before = await Promise.all(slots.map(async ({ tensor }) => bits(await tensor.grad!.data())));
  clipGradAdaptive(parametersOf(slots), 1e9);
  const after = await Promise.all(slots.map(async ({ tensor }) => bits(await tensor.grad!.data())));
  t.deepEqual(after, before);
  t.throws(() => clipGradAdaptive(parametersOf(slots), 0), { code: 'INVALID_ARGUMENT', message: /clipping/ });
  t.throws(() => clipGradAdaptive([device.ones([2])]), {
    code: 'INVALID_STATE',
    message: /^clipGradAdaptive: no param/,
  });
});

eachDevice(test, 'clipping leaves what is not finite', async (t, device) => {
  const weight = device.ones([5], { requiresGrad: true });
  const values = [Number.NaN, Number.POSITIVE_INFINITY, 1, -2, 3];
  const set = (bad: readonly number[]) => {
    weight.zeroGrad();
    weight.grad = device.tensor([...bad]).keep();
  };
  for (const [bad, expected] of [
    [values, Number.NaN],
    [values.slice(1).concat(0), Number.POSITIVE_INFINITY],
  ] as const) {
    set(bad);
    using norm = clipGradNorm([weight], 1);
    t.is((await norm.data())[0], expected);
    t.deepEqual([...(await weight.grad!.data())], [...bad]);
  }
  set(values);
  clipGradValue([weight], 1.5);
  t.deepEqual([...(await weight.grad!.data())], [Number.NaN, 1.5, 1, -1.5, 1.5]);
});

eachDevice(test, 'clipping: replayed steps give the bits of eager ones', async (t, device, random) => {
  const slots = drawSlots(device, random);
  const copies = copySlots(device, slots);
  using eager = new Sgd(device, parametersOf(slots), 0.1);
  using replayed = new Sgd(device, parametersOf(copies), 0.1);
  const step = (own: typeof slots, optimizer: Sgd): Tensor => {
    setGradients(own);
    clipGradValue(optimizer.parameters(), 2);
    const norm = clipGradNorm(optimizer.parameters(), 20);
    optimizer.step();
    return norm;
  };
  const { program, result } = device.record(() => step(copies, replayed));
  for (let i = 0; i < 2; i++) {
    drawGradients(slots, random);
    copyValues(slots, copies, 'slope');
    using norm = step(slots, eager);
    program.run();
    t.is(bits(await result.data()), bits(await norm.data()));
  }
  for (const [i, { name, tensor }] of slots.entries()) {
    t.is(bits(await copies[i]!.tensor.data()), bits(await tensor.data()), name);
  }
  result.dispose();
  program.dispose();
});

test('clipping refuses bad arguments, and changes nothing', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const weight = device.ones([1], { requiresGrad: true });
  const none = { code: 'INVALID_STATE', message: /no parameter has a gradient/ };
  t.throws(() => clipGradNorm([weight], 1), none);
  t.throws(() => clipGradValue([], 1), none);
  weight.grad = device.full([1], 5).keep();
  for (const bad of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1']) {
    const refused = (name: string) => ({ code: 'INVALID_ARGUMENT', message: new RegExp(`${name} must.*got ${bad}`) });
    t.throws(() => clipGradNorm([weight], bad as number), refused('clipGradNorm: maxNorm'));
    t.throws(() => clipGradValue([weight], bad as number), refused('clipGradValue: limit'));
  }
  t.throws(() => clipGradNorm(weight as never, 1), { code: 'INVALID_ARGUMENT', message: /clipGradNorm: parameters/ });
  t.is((await weight.grad.data())[0], 5);
});
