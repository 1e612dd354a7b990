import type { NormSpec } from '../../lib/index.js';

/** Every normalization that `ResNet` takes. */
export const normSpecs: readonly NormSpec[] = [
  { type: 'batch' },
  { type: 'sync-batch' },
  { type: 'group' },
  { type: 'layer' },
  { type: 'instance' },
  { type: 'frn' },
  { type: 'evonorm' },
  { type: 'batch-renorm' },
  { type: 'batch-channel' },
  { type: 'mabn' },
  { type: 'kalman', splits: 2 },
  { type: 'group-kalman' },
];
