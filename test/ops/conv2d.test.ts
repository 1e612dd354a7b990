import test from 'ava';
import { conv2d } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { cases, grouped } from '../support/conv-cases.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

for (const { title, shape, outChannels, kernel, options, stride, sides, format = 'activation' } of grouped) {
  const { groups = 1, dilation = 1 } = options;
  const steps = typeof dilation === 'number' ? ([dilation, dilation] as const) : dilation;
  eachDevice(test, `conv2d: ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: { ...random.normals(shape), format },
        weight: { ...random.normals([outChannels, shape[1] / groups, ...kernel]), format: 'filter' as const },
      },
      run: ({ x, weight }) => [conv2d(x, weight, options)],
      reference: ({ x, weight }) => [reference.conv2d(x, weight, stride, sides, { dilation: steps, groups })],
      tolerance: tolerance.sum((shape[1] / groups) * kernel[0] * kernel[1]),
      gradientTolerance: tolerance.sum(Math.max(shape[0] * shape[2] * shape[3], outChannels * kernel[0] * kernel[1])),
    }));
  });
}

eachDevice(test, 'conv2d: groups and dilation that can not be', (t, device) => {
  const x = device.ones([1, 8, 4, 4]);
  const weight = device.tensor(new Float32Array(6 * 4 * 9), [6, 4, 3, 3], { format: 'filter' });
  t.throws(() => conv2d(x, weight, { groups: 4 }), { code: 'INVALID_ARGUMENT', message: /groups must divide.* 6/ });
  t.throws(() => conv2d(x, weight, { groups: 3 }), { code: 'SHAPE_MISMATCH', message: /12 channels/ });
  t.throws(() => conv2d(x, weight, { groups: 0 }), { code: 'INVALID_ARGUMENT', message: /groups/ });
  t.throws(() => conv2d(x, weight, { groups: 2, dilation: 0 }), { code: 'INVALID_ARGUMENT', message: /dilation/ });
  t.throws(() => conv2d(x, weight, { groups: 2, dilation: 2 }), { code: 'SHAPE_MISMATCH', message: /larger/ });
});

for (const { title, shape, outChannels, kernel, options, stride, sides, format = 'activation' } of cases) {
  eachDevice(test, `conv2d: ${title}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: { ...random.normals(shape), format },
        weight: { ...random.normals([outChannels, shape[1], ...kernel]), format: 'filter' as const },
      },
      run: ({ x, weight }) => [conv2d(x, weight, options)],
      reference: ({ x, weight }) => [reference.conv2d(x, weight, stride, sides)],
      tolerance: tolerance.sum(shape[1] * kernel[0] * kernel[1]),
      // The filter's gradient sums over all pixels, that of the input over the filter.
      gradientTolerance: tolerance.sum(Math.max(shape[0] * shape[2] * shape[3], outChannels * kernel[0] * kernel[1])),
    }));
  });
}

eachDevice(test, 'conv2d: the weights alone, the input alone', async (t, device, random) => {
  for (const [constantX, constantWeight] of [
    [true, false],
    [false, true],
  ]) {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: { ...random.normals([2, 3, 5, 4]), constant: constantX! },
        weight: { ...random.normals([5, 3, 3, 3]), format: 'filter' as const, constant: constantWeight! },
      },
      run: ({ x, weight }) => [conv2d(x, weight, { padding: 1 })],
      reference: ({ x, weight }) => [reference.conv2d(x, weight, [1, 1], [1, 1, 1, 1])],
      tolerance: tolerance.sum(45),
    }));
  }
});

for (const [title, shape, outChannels, stride] of [
  ['by oneDNN', [2, 5, 7, 6], 12, 2],
  ['by tiles', [3, 32, 5, 6], 40, 1],
  ['of few pixels', [2, 16, 5, 6], 40, 2],
  ['of channels in groups', [3, 16, 4, 5], 8, 1],
] as const) {
  for (const { bias, relu } of [
    { bias: true, relu: true },
    { bias: true, relu: false },
    { bias: false, relu: true },
  ]) {
    eachDevice(test, `conv2d: ${bias ? 'bias ' : ''}${relu ? 'ReLU ' : ''}${title}`, async (t, device, random) => {
      const groups = title.includes('groups') ? 2 : 1;
      const options = { stride, padding: 1, groups };
      const terms = (shape[1] / groups) * 9;
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals(shape),
          weight: { ...random.normals([outChannels, shape[1] / groups, 3, 3]), format: 'filter' as const },
          shift: { ...random.normals([outChannels]), constant: !bias },
        },
        run: ({ x, weight, shift }) => [conv2d(x, weight, options, { bias: bias ? shift : null, relu })],
        reference({ x, weight, shift }) {
          const sums = reference.conv2d(x, weight, [stride, stride], [1, 1, 1, 1], { groups });
          const pixels = sums.data.length / shape[0] / outChannels;
          const shifted = sums.data.map((value, i) => value + shift.data[Math.floor(i / pixels) % outChannels]!);
          const result = bias ? { shape: sums.shape, data: shifted } : sums;
          return [relu ? reference.relu(result) : result];
        },
        tolerance: tolerance.sum(terms),
        gradientTolerance: tolerance.sum(Math.max(shape[0] * shape[2] * shape[3], outChannels * 9)),
      }));
    });
  }
}

eachDevice(test, 'conv2d: NaN passes through bias and ReLU', async (t, device) => {
  for (const channels of [5, 32]) {
    const values = new Float32Array(channels * 16).fill(1);
    values[0] = Number.NaN;
    const x = device.tensor(values, [1, channels, 4, 4]);
    const weight = device.tensor(new Float32Array(channels * channels * 9).fill(-1), [channels, channels, 3, 3], {
      format: 'filter',
    });
    const y = await conv2d(x, weight, { padding: 1 }, { bias: device.ones([channels]), relu: true }).data();
    t.true(Number.isNaN(y[0]), `${channels} channels`);
    t.is(y[15], 0);
  }
});

eachDevice(test, 'conv2d: a bias that does not fit', (t, device) => {
  const [x, weight] = [
    device.ones([1, 3, 4, 4]),
    device.tensor(new Float32Array(135), [5, 3, 3, 3], { format: 'filter' }),
  ];
  const message = /bias.*5.*got.*\[3\]/;
  t.throws(() => conv2d(x, weight, {}, { bias: device.ones([3]) }), { code: 'SHAPE_MISMATCH', message });
});
