import type { NormSpec } from '../../lib/index.js';

/** A network's normalization, under the name by which cases are found. */
export interface Method {
  name: string;
  norm: NormSpec;
}

/** All normalizations for batches of this size; micro-batches have 2 samples. */
export function methods(batch: number) {
  const splits = batch / 2;
  const kalman = (transition: 'sampled' | 'analytic', count: number): Method => ({
    name: `kn ${transition} S=${count}`,
    norm: { type: 'reference-kalman', splits: count, gain: 0.1, transition },
  });
  return {
    batchNorm: { name: 'bn S=1', norm: { type: 'batch' } },
    splitBatchNorm: { name: `bn S=${splits}`, norm: { type: 'batch', splits } },
    groupNorm: { name: 'gn G=4', norm: { type: 'group', groups: 4 } },
    kalmanSampled: kalman('sampled', splits),
    kalmanAnalytic: kalman('analytic', splits),
    kalmanLargeSampled: kalman('sampled', 1),
    kalmanLargeAnalytic: kalman('analytic', 1),
  } as const satisfies Record<string, Method>;
}
