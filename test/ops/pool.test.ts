import test from 'ava';
import { avgPool2d, globalAvgPool } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

const shapes = [
  [5, 1, 3, 3],
  [3, 5, 7, 9],
  [2, 16, 8, 6],
  [5, 12, 5, 4],
  [3, 24, 3, 7],
] as const;

for (const shape of shapes) {
  for (const size of [1, 2, 3]) {
    eachDevice(test, `avgPool2d: windows of ${size} in [${shape}]`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: { x: random.normals(shape) },
        run: ({ x }) => [avgPool2d(x, size)],
        reference: ({ x }) => [reference.avgPool2d(x, size)],
        tolerance: tolerance.sum(size * size),
      }));
    });
  }

  eachDevice(test, `globalAvgPool: [${shape}]`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals(shape) },
      run: ({ x }) => [globalAvgPool(x)],
      reference: ({ x }) => [reference.globalAvgPool(x)],
      tolerance: tolerance.sum(shape[2] * shape[3]),
    }));
  });
}
