import test from 'ava';
import {
  add,
  avgPool2d,
  BatchNorm2d,
  Belief,
  batchNorm,
  conv2d,
  crossEntropy,
  DeviceRandom,
  GroupNorm,
  gather,
  globalAvgPool,
  groupNorm,
  kalmanNorm,
  kalmanResidual,
  linear,
  moments,
  normalize,
  padBelief,
  padChannels,
  relu,
  reshape,
  samplePrior,
  samples,
} from '../lib/index.js';
import { predict } from '../lib/kalman/index.js';

import { belief, type Failure, failures, filter, image, ints, none } from './support/failures.js';

const wrongRank: Failure[] = [
  ['conv2d x', (d) => conv2d(d.ones([4, 6]), filter(d)), 'SHAPE_MISMATCH', /conv2d: x .*\[N, C, H, W\], got \[4, 6\]/],
  ['conv2d weight', (d) => conv2d(image(d), d.ones([5, 6])), 'SHAPE_MISMATCH', /conv2d: weight .*filter.*\[5, 6\]/],
  ['linear x', (d) => linear(image(d), d.ones([6, 2]), null), 'SHAPE_MISMATCH', /linear: x .*\[4, 6, 3, 5\]/],
  ['batchNorm x', (d) => batchNorm(d.ones([4]), none), 'SHAPE_MISMATCH', /batchNorm: x .*got \[4\]/],
  ['groupNorm x', (d) => groupNorm(d.ones([4]), 1, none), 'SHAPE_MISMATCH', /groupNorm: x .*got \[4\]/],
  ['kalmanNorm x', (d) => kalmanNorm(d.ones([4]), null, none, { gain: 1 }), 'SHAPE_MISMATCH', /kalmanNorm: x .*\[4\]/],
  ['moments x', (d) => moments(d.ones([4, 2, 3])), 'SHAPE_MISMATCH', /moments: x .*got \[4, 2, 3\]/],
  ['avgPool2d x', (d) => avgPool2d(d.ones([4, 2]), 1), 'SHAPE_MISMATCH', /avgPool2d: x .*got \[4, 2\]/],
  ['globalAvgPool x', (d) => globalAvgPool(d.ones([4, 2])), 'SHAPE_MISMATCH', /globalAvgPool: x .*got \[4, 2\]/],
  ['padChannels x', (d) => padChannels(d.ones([4, 2]), 1, 1), 'SHAPE_MISMATCH', /padChannels: x .*got \[4, 2\]/],
  ['crossEntropy logits', (d) => crossEntropy(d.ones([4]), ints(d)), 'SHAPE_MISMATCH', /logits.*\[4\]/],
  ['belief', (d) => new Belief(d.ones([2, 3]), d.ones([2, 3]), 2), 'SHAPE_MISMATCH', /belief: .*vectors.*\[2,3\]/],
  ['labels', (d) => crossEntropy(d.ones([4, 2]), d.ones([4])), 'DTYPE_MISMATCH', /labels must be int32, got float32/],
];

const wrongShape: Failure[] = [
  [
    'add',
    (d) => add(image(d), image(d, 3)),
    'SHAPE_MISMATCH',
    /add: \[4, 6, 3, 5\] and \[3, 6, 3, 5\] can't be broadcast/,
  ],
  [
    'conv2d channels',
    (d) => conv2d(image(d), filter(d, [5, 3, 3, 3])),
    'SHAPE_MISMATCH',
    /conv2d: x must have 3 channels.*got 6/,
  ],
  [
    'conv2d filter too large',
    (d) => conv2d(image(d), filter(d, [5, 6, 5, 5])),
    'SHAPE_MISMATCH',
    /conv2d: the filter \[5, 6, 5, 5\] is larger.*\[4, 6, 3, 5\]/,
  ],
  [
    'linear weight',
    (d) => linear(d.ones([4, 3]), d.ones([5, 2]), null),
    'SHAPE_MISMATCH',
    /linear: .*3.*5|linear: .*5.*3/,
  ],
  [
    'linear bias',
    (d) => linear(d.ones([4, 3]), d.ones([3, 2]), d.ones([3])),
    'SHAPE_MISMATCH',
    /linear: b.*\[2\], got \[3\]/,
  ],
  ['reshape', (d) => reshape(image(d), [7]), 'SHAPE_MISMATCH', /reshape: .*360 values.*\[7\] has 7/],
  [
    'gamma',
    (d) => batchNorm(image(d), { gamma: d.ones([5]), beta: null }),
    'SHAPE_MISMATCH',
    /batchNorm: gamma .*\[6\], got \[5\]/,
  ],
  [
    'beta',
    (d) => groupNorm(image(d), 2, { gamma: null, beta: d.ones([7]) }),
    'SHAPE_MISMATCH',
    /groupNorm: beta .*\[6\], got \[7\]/,
  ],
  [
    'statistics',
    (d) => normalize(image(d), { mean: d.ones([6]), variance: d.ones([12]) }, none),
    'SHAPE_MISMATCH',
    /normalize: variance .*\[6\], got \[12\]/,
  ],
  [
    'gain of each channel',
    (d) => kalmanNorm(image(d), null, none, { gain: d.ones([5]) }),
    'SHAPE_MISMATCH',
    /kalmanNorm: gain .*\[6\], got \[5\]/,
  ],
  [
    'noise',
    (d) => kalmanNorm(image(d), null, none, { gain: 1, splits: 2, sample: image(d, 3) }),
    'SHAPE_MISMATCH',
    /noise .*\[2, 6, 3, 5\], got \[3, 6, 3, 5\]/,
  ],
  [
    'branch without virtual samples',
    (d) => kalmanResidual(image(d), belief(d, 12, 2), image(d)),
    'SHAPE_MISMATCH',
    /kalmanResidual: branch .*4 real and 2 virtual.*got 4/,
  ],
  ['window', (d) => avgPool2d(image(d), 4), 'INVALID_ARGUMENT', /avgPool2d: size .*got 4/],
  ['labels', (d) => crossEntropy(d.ones([4, 2]), ints(d, 3)), 'SHAPE_MISMATCH', /labels.*\[?4\]?.*3/],
  ['values', (d) => d.tensor([1, 2, 3], [2, 2]), 'SHAPE_MISMATCH', /values must have 4 entries.*got 3/],
  ['write', (d) => d.ones([3]).write(new Float32Array(4)), 'SHAPE_MISMATCH', /write: values must hold 3.*got 4/],
  ['copyFrom', (d) => d.ones([3]).copyFrom(d.ones([4])), 'SHAPE_MISMATCH', /copy: .*\[4\], got \[3\]/],
];

const beliefs: Failure[] = [
  [
    'of a wrong length',
    (d) => kalmanNorm(image(d), belief(d, 10, 2), none, { gain: 1, splits: 2 }),
    'SHAPE_MISMATCH',
    /prior.mean .*\[12\], got \[10\]/,
  ],
  [
    'of another number of splits',
    (d) => kalmanNorm(image(d), belief(d, 12, 4), none, { gain: 1, splits: 2 }),
    'SHAPE_MISMATCH',
    /prior must have 2 splits, got 4/,
  ],
  ['that splits do not divide', (d) => belief(d, 10, 3), 'SHAPE_MISMATCH', /belief: .*10 values for 3 splits/],
  [
    'with mean and variance of two lengths',
    (d) => new Belief(d.ones([4]), d.ones([2]), 2),
    'SHAPE_MISMATCH',
    /belief: .*\[4\] and \[2\]/,
  ],
  ['padded by a negative number', (d) => padBelief(belief(d, 4, 2), -1, 1), 'INVALID_ARGUMENT', /padBelief.*-1/],
  [
    'through a filter of other channels',
    (d) => predict(belief(d, 10, 2), filter(d), { height: 3, width: 3, noise: new DeviceRandom(d, 0), padding: 1 }),
    'SHAPE_MISMATCH',
    /6 channels.*got 5/,
  ],
  [
    'sampled at no pixels',
    (d) => samplePrior(belief(d, 4, 2), { height: 0, width: 3 }, new DeviceRandom(d, 0)),
    'INVALID_ARGUMENT',
    /height.*0|\[2, 2, 0, 3\]/,
  ],
];

const divisions: Failure[] = [
  [
    'batchNorm: 4 samples, 3 splits',
    (d) => batchNorm(image(d), none, { splits: 3 }),
    'INVALID_ARGUMENT',
    /batchNorm: splits must divide.*4 samples.*3/,
  ],
  [
    'kalmanNorm: 4 samples, 3 splits',
    (d) => kalmanNorm(image(d), null, none, { gain: 1, splits: 3 }),
    'INVALID_ARGUMENT',
    /kalmanNorm: splits must divide.*4 samples.*3/,
  ],
  [
    'kalmanNorm: nothing but virtual samples',
    (d) => kalmanNorm(image(d), 'carried', none, { gain: 1, splits: 4 }),
    'INVALID_ARGUMENT',
    /kalmanNorm: .*samples.*4/,
  ],
  ['moments: 4 samples, 8 splits', (d) => moments(image(d), 8), 'INVALID_ARGUMENT', /moments: splits must divide/],
  [
    'groupNorm: 6 channels, 4 groups',
    (d) => groupNorm(image(d), 4, none),
    'INVALID_ARGUMENT',
    /groupNorm: groups must divide.*6 channels.*4/,
  ],
  [
    'GroupNorm: 6 channels, 4 groups',
    (d) => new GroupNorm(d, 4, 6),
    'INVALID_ARGUMENT',
    /GroupNorm: groups .*6 channels, got 4/,
  ],
  [
    'BatchNorm2d: 4 samples, 3 splits',
    (d) => new BatchNorm2d(d, 6, { splits: 3 }).forward(image(d)),
    'INVALID_ARGUMENT',
    /splits must divide/,
  ],
  ['zero batch', (d) => d.ones([0, 3, 2, 2]), 'INVALID_ARGUMENT', /shape: .*at least 1, got \[0, 3, 2, 2\]/],
  ['zero channels', (d) => d.tensor([], [2, 0]), 'INVALID_ARGUMENT', /shape: .*at least 1, got \[2, 0\]/],
  ['range of no samples', (d) => samples(image(d), 1, 0), 'INVALID_ARGUMENT', /samples: \[1, 1\)/],
  ['range beyond the end', (d) => samples(image(d), 2, 3), 'INVALID_ARGUMENT', /samples: \[2, 5\) .*4 samples/],
];

const dtypes: Failure[] = [
  ['add', (d) => add(ints(d), ints(d)), 'DTYPE_MISMATCH', /add: a must be float32, got int32/],
  ['relu', (d) => relu(d.tensor(new Uint8Array(3))), 'DTYPE_MISMATCH', /relu: x must be float32, got uint8/],
  ['batchNorm', (d) => batchNorm(d.tensor(new Int32Array(4), [2, 2]), none), 'DTYPE_MISMATCH', /batchNorm: x .*int32/],
  [
    'gamma',
    (d) => batchNorm(image(d), { gamma: ints(d, 6), beta: null }),
    'DTYPE_MISMATCH',
    /batchNorm: gamma .*int32/,
  ],
  [
    'write',
    (d) => d.ones([3]).write(new Int32Array(3)),
    'DTYPE_MISMATCH',
    /write: values must be a Float32Array.*got Int32Array/,
  ],
  [
    'row-major activation',
    (d) => batchNorm(d.full([2, 2, 3, 3], 1, { format: 'plain' }), none),
    'INVALID_ARGUMENT',
    /batchNorm: x .*activation format, got plain/,
  ],
  [
    'activation as a filter',
    (d) => conv2d(image(d), image(d, 5, 6, 3, 3)),
    'SHAPE_MISMATCH',
    /conv2d: weight .*filter.*got activation/,
  ],
  [
    'gather images',
    (d) =>
      gather(
        { images: image(d), labels: ints(d), mean: d.ones([6, 3, 5]), indices: ints(d), cursor: ints(d, 1) },
        { batchSize: 1 },
      ),
    'DTYPE_MISMATCH',
    /gather: images must be uint8, got float32/,
  ],
];

failures(test, 'wrong rank', wrongRank);
failures(test, 'wrong shape', wrongShape);
failures(test, 'wrong type', dtypes);
failures(test, 'belief', beliefs);
failures(test, 'divisions', divisions);
