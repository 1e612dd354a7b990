import { methods } from '../support/methods.js';
import { type Comparison, compare, median, scaledComparison } from '../support/statistics.js';
import type { Result } from './interleave.js';
import { torchBatchNormModes, torchKalmanModes } from './torch.js';

/** A figure that the project set itself, with what was measured. */
export interface GoalCheck extends Comparison {
  figure: string;
  /** Such as `at least 1.25`. */
  goal: string;
  met: boolean;
}

/** Images of a step, always: S = 64 makes micro-batches of 2. */
export const batch = 128;

const own = methods(batch);

/** Names of candidates, by which goals find them. */
export const names = {
  batchNorm: own.batchNorm.name,
  kalmanSampled: own.kalmanSampled.name,
  kalmanAnalytic: own.kalmanAnalytic.name,
  kalmanLargeSampled: own.kalmanLargeSampled.name,
  kalmanLargeAnalytic: own.kalmanLargeAnalytic.name,
  torchBatchNorm: torchBatchNormModes.map(({ name }) => name),
  torchKalman: torchKalmanModes[0].name,
};

/**
 * What the comparison at a depth says: how often our step fits into the best PyTorch mode's, and what Kalman normalization
 * costs. Figures without candidates are left out.
 */
export function checkDepth(n: number, results: readonly Result[]): GoalCheck[] {
  const find = (name: string) => results.find((result) => result.name === name);
  const ours = find(names.batchNorm);
  const fastest = results
    .filter(({ name }) => names.torchBatchNorm.includes(name))
    .sort((a, b) => median(a.seconds) - median(b.seconds))[0];
  const sampled = find(names.kalmanSampled);
  return [
    ratio(`BN step, n = ${n}: best PyTorch mode (${fastest?.name}) / ours`, fastest, ours, {
      atLeast: n === 1 ? 1.4 : 1.25,
    }),
    ratio(`KN sampled, S = 64, n = ${n}: PyTorch's straight port / ours`, find(names.torchKalman), sampled, {
      atLeast: 2,
    }),
    ratio(`KN sampled, S = 64, n = ${n} / our BN`, sampled, ours, { atMost: 1.5 }),
    ratio(`KN analytic, S = 64, n = ${n} / our BN`, find(names.kalmanAnalytic), ours, { atMost: 1.1 }),
    ratio(`KN sampled, S = 1, n = ${n} / our BN`, find(names.kalmanLargeSampled), ours, { atMost: 1.05 }),
    ratio(`KN analytic, S = 1, n = ${n} / our BN`, find(names.kalmanLargeAnalytic), ours, { atMost: 1.05 }),
  ].filter((goal) => goal !== null);
}

/**
 * Whether images/s times n stays the same from one depth to another: a step has the work of its blocks, and little else.
 *
 * @param shallow at depth `from`
 * @param deep at depth `to`
 */
export function checkGrowth(
  what: string,
  shallow: { n: number; result: Result },
  deep: { n: number; result: Result },
): GoalCheck {
  const times = compare(shallow.result.seconds, deep.result.seconds);
  const growth = scaledComparison(times, deep.n / shallow.n);
  return {
    figure: `${what}: images/s times n, n = ${deep.n} / n = ${shallow.n}`,
    goal: 'within 10 % of 1',
    met: Math.abs(growth.ratio - 1) <= 0.1,
    ...growth,
  };
}

/** Whether our peak memory is at most the smallest of PyTorch's modes. Bytes. */
export function checkMemory(n: number, ours: number, theirs: readonly { name: string; bytes: number }[]): GoalCheck {
  const least = [...theirs].sort((a, b) => a.bytes - b.bytes)[0] ?? { name: 'none', bytes: Number.NaN };
  const value = ours / least.bytes;
  return {
    figure: `peak memory of the BN step, n = ${n}: ours / PyTorch's least (${least.name})`,
    goal: 'at most 1',
    met: value <= 1,
    ratio: value,
    p25: value,
    p75: value,
    low: value,
    high: value,
  };
}

function ratio(
  figure: string,
  numerator: Result | undefined,
  denominator: Result | undefined,
  bound: { atLeast: number } | { atMost: number },
): GoalCheck | null {
  if (!numerator || !denominator) return null;
  const comparison = compare(numerator.seconds, denominator.seconds);
  const atLeast = 'atLeast' in bound;
  return {
    figure,
    goal: atLeast ? `at least ${bound.atLeast}` : `at most ${bound.atMost}`,
    met: atLeast ? comparison.ratio >= bound.atLeast : comparison.ratio <= bound.atMost,
    ...comparison,
  };
}
