import test from 'ava';
import { Belief, padBelief, padChannels } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';
import { padVector } from '../support/reference-kalman.js';

const shapes = [
  [5, 1, 3, 3],
  [3, 5, 7, 9],
  [2, 16, 8, 6],
  [5, 12, 5, 4],
  [3, 24, 3, 7],
] as const;

for (const shape of shapes) {
  for (const [before, after] of [
    [0, 0],
    [8, 8],
    [1, 0],
    [2, 5],
    [6, 6],
  ] as const) {
    eachDevice(test, `padChannels: ${before} and ${after} around [${shape}]`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: { x: random.normals(shape) },
        run: ({ x }) => [padChannels(x, before, after)],
        reference: ({ x }) => [reference.padChannels(x, before, after)],
        tolerance: tolerance.exact,
      }));
    });
  }
}

for (const [splits, channels, before, after] of [
  [1, 8, 4, 4],
  [2, 5, 2, 3],
  [4, 16, 8, 8],
  [64, 3, 1, 2],
] as const) {
  for (const padding of ['aligned', 'reference'] as const) {
    eachDevice(test, `padBelief: ${padding}, ${splits} splits of ${channels}`, async (t, device, random) => {
      const pad = { aligned: padding === 'aligned', splits, before, after };
      await checkOp(t, device, random, () => ({
        inputs: {
          mean: random.normals([splits * channels]),
          variance: random.uniforms([splits * channels], 0.1, 2),
        },
        run: ({ mean, variance }) => {
          const padded = padBelief(new Belief(mean, variance, splits), before, after, padding);
          t.is(padded.splits, splits);
          return [padded.mean, padded.variance];
        },
        reference: ({ mean, variance }) =>
          [mean, variance].map((x) => padVector(x, pad.splits, pad.before, pad.after, pad.aligned)),
        tolerance: tolerance.exact,
      }));
    });
  }
}

eachDevice(test, 'padBelief: the reference padding of 4 splits leaves the outer splits empty', async (t, device) => {
  // C = 2: (split s, channel c) lies at s·2 + c, and is read at index 4 + s·2 + c of 4 splits of 4.
  const mean = device.tensor([1, 2, 3, 4, 5, 6, 7, 8]);
  const padded = padBelief(new Belief(mean, mean.detach(), 4), 1, 1, 'reference');
  t.deepEqual([...(await padded.mean.data())], [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
});
