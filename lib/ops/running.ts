import { native } from '../addon/load.js';
import type { Moments } from './moments.js';

/**
 * Moves running averages toward the statistics of a batch: running += momentum·(s - running).
 *
 * @param options.momentum weight of the new value
 * @param options.correction factor on the variance, n / (n - 1) to make a biased one unbiased
 * @param options.allSplits the mean over the splits, else split 0 alone (as the reference code does)
 */
export function updateRunning(
  running: Moments,
  statistics: Moments,
  options: { splits: number; momentum: number; correction: number; allSplits: boolean },
): void {
  native.updateRunning({
    mean: statistics.mean.handle,
    variance: statistics.variance.handle,
    runningMean: running.mean.handle,
    runningVar: running.variance.handle,
    ...options,
  });
}
