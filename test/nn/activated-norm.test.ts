import test from 'ava';
import { buildModel, EvoNormS0, FilterResponseNorm2d, type Layer, type Tensor } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { bits, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { evoNormS0, filterResponseNorm } from '../support/reference-rivals.js';

const shapes = [
  [3, 5, 7, 3],
  [2, 12, 4, 5],
  [1, 16, 3, 3],
  [5, 24, 2, 1],
] as const;

/** Vectors' gradients are sums over samples and pixels, which may cancel to a fraction of what their terms' errors go with. */
const gradientTolerance = 4 * tolerance.normalization;

/** A layer that computes with other tensors than its own, through which their gradients are checked. */
function withParameters<L extends Layer>(layer: L, parameters: Readonly<Record<string, Tensor>>): L {
  return Object.assign(layer, parameters);
}

for (const shape of shapes) {
  const channels = shape[1];
  eachDevice(test, `FilterResponseNorm2d: [${shape}]`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals(shape, 0.5, 1.5),
        gamma: random.normals([channels], 1, 0.3),
        beta: random.normals([channels]),
        tau: random.normals([channels], 0, 0.5),
      },
      run: ({ x, ...own }) => [
        withParameters(new FilterResponseNorm2d(device, channels, { epsilon: 1e-3 }), own).forward(x),
      ],
      reference: ({ x, ...own }) => [filterResponseNorm(x, { ...own, epsilon: 1e-3 })],
      tolerance: tolerance.normalization,
      gradientTolerance,
    }));
  });

  for (const groups of [1, channels === 5 ? 5 : 4]) {
    eachDevice(test, `EvoNormS0: [${shape}], ${groups} groups`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals(shape, 0.5, 1.5),
          gamma: random.normals([channels], 1, 0.3),
          beta: random.normals([channels]),
          v: random.normals([channels], 1, 0.5),
        },
        run: ({ x, ...own }) => [
          withParameters(new EvoNormS0(device, channels, { groups, epsilon: 1e-3 }), own).forward(x),
        ],
        reference: ({ x, ...own }) => [evoNormS0(x, { ...own, groups, epsilon: 1e-3 })],
        tolerance: tolerance.normalization,
        gradientTolerance,
      }));
    });
  }
}

eachDevice(
  test,
  'FRN, EvoNorm-S0: what they begin with, the same in inference and anew from specs',
  async (t, device, random) => {
    const x = random.normals([2, 12, 3, 3]);
    const input = device.tensor(Float32Array.from(x.data), x.shape);
    for (const [make, third] of [
      [() => new FilterResponseNorm2d(device, 12), 'tau'],
      [() => new EvoNormS0(device, 12, { groups: 4 }), 'v'],
    ] as const) {
      using layer: Layer = make();
      t.deepEqual([...layer.namedParameters().keys()], ['gamma', 'beta', third]);
      t.is(layer.namedBuffers().size, 0);
      const inTraining = bits(await layer.forward(input).data());
      using copy = buildModel(device, layer.spec()!) as Layer;
      t.deepEqual(copy.spec(), layer.spec());
      t.is(bits(await copy.eval().forward(input).data()), inTraining);
    }
  },
);

eachDevice(test, 'FRN, EvoNorm-S0: wrong options and samples are typed errors', (t, device) => {
  for (const make of [
    () => new FilterResponseNorm2d(device, 0),
    () => new FilterResponseNorm2d(device, 4, { epsilon: 0 }),
    () => new EvoNormS0(device, 16),
    () => new EvoNormS0(device, 16, { groups: 3 }),
    () => buildModel(device, { type: 'EvoNormS0', channels: 16, groups: 5 }),
  ]) {
    t.throws(make, { code: 'INVALID_ARGUMENT' });
  }
  const wrong = { code: 'SHAPE_MISMATCH', message: /\[N, 4, H, W\], got \[2, 8, 3, 3\]/ };
  t.throws(() => new FilterResponseNorm2d(device, 4).forward(device.ones([2, 8, 3, 3])), wrong);
  t.throws(() => new EvoNormS0(device, 4, { groups: 2 }).forward(device.ones([2, 4])), { code: 'SHAPE_MISMATCH' });
});
