import {
  AvgPool2d,
  BatchChannelNorm2d,
  BatchNorm2d,
  BatchRenorm2d,
  Concat,
  Conv2d,
  type Device,
  Dropout,
  FilterResponseNorm2d,
  GlobalAvgPool2d,
  GroupNorm,
  KalmanNorm2d,
  type Layer,
  LeakyReLU,
  Linear,
  MaxPool2d,
  ReferenceKalmanNorm2d,
  ReLU,
  Residual,
  Sequential,
  SyncBatchNorm2d,
  Unknown,
} from '../../lib/index.js';
import type { TestRandom } from './random.js';

/** Normalizations that begin in inference with a scale and a shift that are known. */
export const averagedNorms: Record<string, (device: Device, channels: number, relu: boolean) => Layer> = {
  BatchNorm2d: (d, c, relu) => new BatchNorm2d(d, c, { relu, epsilon: 1e-3 }),
  'BatchNorm2d without affine': (d, c, relu) => new BatchNorm2d(d, c, { relu, affine: false }),
  SyncBatchNorm2d: (d, c, relu) => new SyncBatchNorm2d(d, c, { relu }),
  BatchRenorm2d: (d, c, relu) => new BatchRenorm2d(d, c, { relu }),
  KalmanNorm2d: (d, c, relu) => new KalmanNorm2d(d, c, { relu }),
  ReferenceKalmanNorm2d: (d, c, relu) => new ReferenceKalmanNorm2d(d, c, { relu, gain: 'learned' }),
};

const norms = [
  ...Object.values(averagedNorms),
  (d: Device, c: number, relu: boolean) => new BatchChannelNorm2d(d, c, { groups: 2, relu }),
  (d: Device, c: number, relu: boolean) => new GroupNorm(d, 2, c, { relu }),
  (d: Device, c: number) => new FilterResponseNorm2d(d, c),
];

/**
 * A classifier of 5 classes for images [channels, size, size], as the public blocks can express it: convolutions and
 * normalizations in any order, with sums, branches and pooling.
 */
export function randomNetwork(device: Device, random: TestRandom, channels: number, size: number): Sequential {
  const pick = <T>(values: readonly T[]): T => values[random.below(values.length)] as T;
  const norm = (c: number) => pick(norms)(device, c, pick([false, true]));
  const conv = (from: number, to: number) =>
    new Conv2d(device, from, to, pick([1, 3]), {
      padding: 'same',
      dilation: pick([1, 1, 2]),
      groups: from % 2 === 0 ? pick([1, 1, 2]) : 1,
      bias: pick([false, true]),
      weightStandardization: pick<boolean | number>([false, false, true, 0.8]),
    });
  /** A branch that keeps the shape. */
  const branch = (c: number) =>
    new Sequential(
      ...pick([() => [], () => [norm(c)]])(),
      conv(c, c),
      ...pick([() => [], () => [norm(c)], () => [norm(c), new ReLU()]])(),
    );

  let [c, side] = [8, size];
  const layers: Layer[] = [conv(channels, c)];
  const add: Record<string, () => void> = {
    conv() {
      const to = pick([4, 6, 8]);
      layers.push(conv(c, to));
      c = to;
    },
    norm: () => layers.push(norm(c)),
    relu: () => layers.push(pick([new ReLU(), new LeakyReLU()])),
    residual: () => layers.push(new Residual(branch(c), pick([() => null, () => branch(c)])())),
    concat() {
      layers.push(new Concat(branch(c), branch(c)));
      c *= 2;
    },
    pool() {
      if (side < 4) return;
      layers.push(pick([new MaxPool2d(2), new AvgPool2d(2)]));
      side >>= 1;
    },
    nothing: () => layers.push(new Sequential(new Unknown(new Dropout(device, 0.3)))),
  };
  const kinds = [...Object.keys(add), 'conv', 'norm', 'norm', 'residual'];
  for (let i = 0; i < 8; i++) add[pick(kinds)]?.();
  return new Sequential(...layers, new GlobalAvgPool2d(), new Linear(device, c, 5));
}
