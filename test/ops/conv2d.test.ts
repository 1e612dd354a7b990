import test from 'ava';
import { type Conv2dOptions, conv2d } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

interface Case {
  title: string;
  /** Of x: [N, C, H, W]. */
  shape: readonly [number, number, number, number];
  outChannels: number;
  kernel: readonly [number, number];
  options: Conv2dOptions;
  /** What the options mean, for the reference. */
  stride: readonly [number, number];
  sides: reference.Sides;
  format?: 'plain' | 'activation';
}

const same = (h: number, w: number, kernel: number, stride: number) => reference.samePadding(h, w, kernel, stride);

const cases: Case[] = [
  {
    title: '3 x 3, stride 1, SAME',
    shape: [3, 5, 7, 9],
    outChannels: 12,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: same(7, 9, 3, 1),
  },
  {
    title: '3 x 3, stride 2, SAME, even size: 0 before and 1 after',
    shape: [2, 16, 8, 6],
    outChannels: 24,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [0, 0, 1, 1],
  },
  {
    title: '3 x 3, stride 2, SAME, odd size: 1 before and 1 after',
    shape: [2, 8, 7, 5],
    outChannels: 3,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: '3 x 3, stride 3, SAME',
    shape: [1, 3, 8, 10],
    outChannels: 5,
    kernel: [3, 3],
    options: { stride: 3, padding: 'same' },
    stride: [3, 3],
    sides: same(8, 10, 3, 3),
  },
  {
    title: '3 x 3 of row-major images',
    shape: [3, 3, 9, 8],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
    format: 'plain',
  },
  {
    title: '3 x 3 of row-major images with channels for blocks of eight',
    shape: [2, 8, 5, 6],
    outChannels: 8,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: same(5, 6, 3, 2),
    format: 'plain',
  },
  {
    title: '1 x 1 of one channel',
    shape: [4, 1, 3, 5],
    outChannels: 8,
    kernel: [1, 1],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: '1 x 1, stride 2, to one channel',
    shape: [2, 12, 5, 4],
    outChannels: 1,
    kernel: [1, 1],
    options: { stride: 2 },
    stride: [2, 2],
    sides: [0, 0, 0, 0],
  },
  {
    title: '5 x 5 without padding, one output pixel',
    shape: [3, 3, 5, 5],
    outChannels: 5,
    kernel: [5, 5],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: '5 x 5, stride 2, SAME',
    shape: [2, 5, 9, 6],
    outChannels: 8,
    kernel: [5, 5],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: same(9, 6, 5, 2),
  },
  {
    title: 'four different paddings',
    shape: [1, 8, 6, 5],
    outChannels: 5,
    kernel: [3, 3],
    options: { padding: [0, 2, 1, 3] },
    stride: [1, 1],
    sides: [0, 2, 1, 3],
  },
  {
    title: 'stride, padding and kernel that differ by axis; rows that no window covers',
    shape: [2, 3, 8, 7],
    outChannels: 12,
    kernel: [3, 1],
    options: { stride: [3, 2], padding: [1, 0] },
    stride: [3, 2],
    sides: [1, 0, 1, 0],
  },
  // From 16 channels the CPU computes these by Winograd's filtering: tiles that are cut off, channel blocks of one, two
  // and four vectors, more tiles than fit a chunk. Its transforms add up to 16 values with factors of at most 1, which
  // costs a small multiple of a direct sum's rounding: the margin of tolerance.sum covers it.
  {
    title: 'tiles: SAME, odd size, five vectors of outputs',
    shape: [2, 32, 5, 3],
    outChannels: 40,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: four different paddings',
    shape: [1, 32, 4, 5],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: [0, 2, 1, 3] },
    stride: [1, 1],
    sides: [0, 2, 1, 3],
  },
  {
    title: 'tiles: no padding, one output pixel',
    shape: [2, 40, 3, 3],
    outChannels: 32,
    kernel: [3, 3],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: 'tiles: blocks of four vectors, two and one',
    shape: [1, 24, 6, 7],
    outChannels: 56,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: sixteen channels',
    shape: [3, 16, 5, 8],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: several chunks, several parts of sums',
    shape: [4, 16, 21, 20],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: sums cut by columns',
    shape: [1, 16, 5, 4],
    outChannels: 136,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  // With AVX-512 the CPU computes these as products of patches and filters.
  {
    title: 'patches: stride 2, several chunks, several parts of sums',
    shape: [4, 16, 21, 23],
    outChannels: 32,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'patches: one pixel, blocks of three vectors and five',
    shape: [2, 24, 7, 6],
    outChannels: 40,
    kernel: [1, 1],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: 'patches: one pixel of a border, stride 2, sums cut by columns',
    shape: [1, 16, 9, 8],
    outChannels: 136,
    kernel: [1, 1],
    options: { stride: 2, padding: [1, 0] },
    stride: [2, 2],
    sides: [1, 0, 1, 0],
  },
  {
    title: 'patches: one pixel, stride and padding that give the size of the input',
    shape: [2, 16, 3, 3],
    outChannels: 16,
    kernel: [1, 1],
    options: { stride: 2, padding: 1 },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'patches: 5 x 2, stride that differs by axis, four paddings',
    shape: [2, 32, 8, 7],
    outChannels: 16,
    kernel: [5, 2],
    options: { stride: [1, 3], padding: [3, 1, 0, 2] },
    stride: [1, 3],
    sides: [3, 1, 0, 2],
  },
];

const grouped: Case[] = [
  {
    title: 'dilation, SAME',
    shape: [2, 5, 9, 8],
    outChannels: 6,
    kernel: [3, 3],
    options: { padding: 'same', dilation: 2 },
    stride: [1, 1],
    sides: [2, 2, 2, 2],
  },
  {
    title: 'tiles: dilation that differs by axis, stride, four paddings',
    shape: [1, 32, 8, 9],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: [1, 0, 2, 3], dilation: [2, 1], stride: [1, 2] },
    stride: [1, 2],
    sides: [1, 0, 2, 3],
  },
  {
    title: 'depthwise, blocks of eight',
    shape: [2, 16, 6, 5],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 1, groups: 16 },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'depthwise, two outputs a channel, stride, dilation',
    shape: [2, 5, 9, 7],
    outChannels: 10,
    kernel: [3, 3],
    options: { padding: 2, groups: 5, stride: 2, dilation: 2 },
    stride: [2, 2],
    sides: [2, 2, 2, 2],
  },
  {
    title: 'groups of channels in blocks of eight, of row-major images',
    shape: [2, 16, 5, 4],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: 'same', groups: 2 },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
    format: 'plain',
  },
  {
    title: 'groups across blocks of eight',
    shape: [2, 24, 4, 3],
    outChannels: 16,
    kernel: [1, 3],
    options: { padding: [0, 1], groups: 4 },
    stride: [1, 1],
    sides: [0, 1, 0, 1],
  },
];

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
  ['by tiles', [2, 32, 5, 6], 40, 1],
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
