import type { ModuleSpec } from '../../lib/index.js';

const channels = 4;
const norms: readonly ModuleSpec[] = [
  'BatchNorm2d',
  'BatchNorm1d',
  'SyncBatchNorm2d',
  'BatchRenorm2d',
  'ReferenceKalmanNorm2d',
  'LayerNorm',
  'InstanceNorm2d',
].flatMap((type) => [
  { type, channels },
  { type, channels, affine: false },
]);

/** Networks of every class that specs can name. */
export const specs: readonly ModuleSpec[] = [
  ...norms,
  { type: 'GroupNorm', channels, groups: 2 },
  { type: 'GroupNorm', channels, groups: 2, affine: false },
  { type: 'BatchChannelNorm2d', channels, groups: 2 },
  { type: 'MovingAverageBatchNorm2d', channels, splits: 2, window: 3 },
  { type: 'ScaledAffine2d', channels, factor: 0.5 },
  { type: 'FilterResponseNorm2d', channels },
  { type: 'EvoNormS0', channels, groups: 2 },
  { type: 'KalmanNorm2d', channels, splits: 2, gain: 0.2, relu: true },
  { type: 'GroupKalmanNorm2d', channels, groups: 2, gain: 0.2 },
  { type: 'ReferenceKalmanNorm2d', channels, gain: 'learned' },
  { type: 'Linear', inFeatures: 3, outFeatures: 2 },
  { type: 'Linear', inFeatures: 3, outFeatures: 2, bias: false },
  { type: 'Conv2d', inChannels: 4, outChannels: 2, kernel: 3, stride: [2, 1], padding: 'same', bias: true, groups: 2 },
  { type: 'Conv2d', inChannels: 2, outChannels: 2, kernel: 1, padding: [1, 2, 3, 4], transitionGradient: 'observed' },
  { type: 'Dropout', rate: 0.5 },
  {
    type: 'Sequential',
    layers: [
      { type: 'MaxPool2d', kernel: [2, 3], stride: 2, padding: 1 },
      { type: 'AvgPool2d', size: 2 },
      { type: 'AdaptiveAvgPool2d', size: 2 },
      { type: 'LeakyReLU', slope: 0.1 },
      { type: 'Softmax', axis: 1 },
      ...['ReLU', 'GELU', 'SiLU', 'Sigmoid', 'Tanh', 'Identity', 'GlobalAvgPool2d', 'Flatten'].map((type) => ({
        type,
      })),
    ],
  },
  {
    type: 'Concat',
    branches: [{ type: 'Identity' }, { type: 'Sequential', layers: [{ type: 'BatchNorm2d', channels }] }],
  },
  { type: 'Residual', body: { type: 'KalmanNorm2d', channels }, shortcut: { type: 'Identity' } },
  { type: 'Unknown', layer: { type: 'ReLU' } },
];
