import test from 'ava';
import { broadcastTo, concat, type Format, matmul, permute, slice, transpose } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { at, build } from '../support/reference-arrays.js';

const moved = { tolerance: tolerance.exact, gradientTolerance: tolerance.sum(8) };

for (const { shape, axes, format } of [
  { shape: [3, 5], axes: [1, 0] },
  { shape: [2, 16, 3, 8], axes: [0, 2, 3, 1] },
  { shape: [2, 5, 3, 8], axes: [3, 1, 0, 2] },
  { shape: [8, 16, 3, 2], axes: [1, 0, 3, 2], format: 'filter' },
  { shape: [2, 3, 4, 2, 3], axes: [4, 0, 2, 1, 3] },
] as { shape: number[]; axes: number[]; format?: Format }[]) {
  eachDevice(test, `permute: [${shape.join(', ')}] by ${axes.join(', ')}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...(format && { format }) } },
      run: ({ x }) => [permute(x, axes)],
      reference: ({ x }) => [
        build(
          axes.map((axis) => shape[axis]!),
          (index) =>
            at(
              x,
              shape.map((_, axis) => index[axes.indexOf(axis)]!),
            ),
        ),
      ],
      ...moved,
    }));
  });
}

for (const { shape, axis, from, to } of [
  { shape: [9], axis: 0, from: 4, to: 9 },
  { shape: [3, 16, 2, 3], axis: 1, from: 5, to: 14 },
  { shape: [3, 16, 2, 3], axis: 1, from: 3, to: 11 },
  { shape: [4, 5, 6, 3], axis: -2, from: 1, to: 4 },
]) {
  eachDevice(test, `slice: [${from}, ${to}) of axis ${axis} of [${shape.join(', ')}]`, async (t, device, random) => {
    const along = axis < 0 ? axis + shape.length : axis;
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals(shape) },
      run: ({ x }) => [slice(x, axis, from, to)],
      reference: ({ x }) => [
        build(
          shape.map((size, i) => (i === along ? to - from : size)),
          (index) =>
            at(
              x,
              index.map((i, j) => (j === along ? i + from : i)),
            ),
        ),
      ],
      ...moved,
    }));
  });
}

for (const { shapes, axis } of [
  {
    shapes: [
      [2, 8, 3, 2],
      [2, 3, 3, 2],
      [2, 5, 3, 2],
    ],
    axis: 1,
  },
  {
    shapes: [
      [2, 5],
      [3, 5],
    ],
    axis: 0,
  },
  {
    shapes: [
      [2, 4, 1, 2],
      [2, 4, 3, 2],
    ],
    axis: 2,
  },
] as { shapes: number[][]; axis: number }[]) {
  eachDevice(test, `concat: ${shapes.map((s) => `[${s.join(', ')}]`).join(' ')}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: Object.fromEntries(shapes.map((shape, i) => [`x${i}`, random.normals(shape)])),
      run: (tensors) => [concat(Object.values(tensors), axis)],
      reference(arrays) {
        const parts = Object.values(arrays).flatMap((x) =>
          Array.from({ length: x.shape[axis]! }, (_, i) => ({ x, i })),
        );
        const shape = shapes[0]!.map((size, i) => (i === axis ? parts.length : size));
        return [build(shape, (index) => at(parts[index[axis]!]!.x, index.with(axis, parts[index[axis]!]!.i)))];
      },
      ...moved,
    }));
  });
}

eachDevice(test, 'broadcastTo, transpose, matmul of stacks', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([3, 1]), a: random.normals([2, 3, 4]), b: random.normals([4, 5]) },
    run: ({ x, a, b }) => [broadcastTo(x, [2, 3, 4]), transpose(a), matmul(a, b)],
    reference: ({ x, a, b }) => [
      build([2, 3, 4], (index) => at(x, index)),
      build([2, 4, 3], ([i, j, k]) => at(a, [i!, k!, j!])),
      build([2, 3, 5], ([i, j, k]) => [0, 1, 2, 3].reduce((s, l) => s + at(a, [i!, j!, l]) * at(b, [l, k!]), 0)),
    ],
    tolerance: tolerance.sum(8),
  }));
});

eachDevice(test, 'layouts: wrong arguments are typed errors', (t, device) => {
  const x = device.ones([2, 3]);
  t.throws(() => permute(x, [0]), { code: 'SHAPE_MISMATCH' });
  t.throws(() => permute(x, [1, -1]), { code: 'INVALID_ARGUMENT' });
  t.throws(() => slice(x, 1, 2, 4), { code: 'INVALID_ARGUMENT', message: /not a range of the 3 values/ });
  t.throws(() => concat([x, device.ones([3, 3])], 1), { code: 'SHAPE_MISMATCH', message: /tensor 1/ });
  t.throws(() => broadcastTo(x, [3, 3]), { code: 'SHAPE_MISMATCH' });
  t.throws(() => matmul(x, x), { code: 'SHAPE_MISMATCH' });
});
