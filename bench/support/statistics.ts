/** Where the middle half of some samples lies. */
export interface Summary {
  median: number;
  p25: number;
  p75: number;
  /** How many there were. */
  samples: number;
}

/** How two series of measurements compare. */
export interface Comparison {
  /** Ratio of the medians. */
  ratio: number;
  /** Quartiles of the ratios round by round. */
  p25: number;
  p75: number;
  /** The middle 95 % of the ratio over bootstrap samples of the rounds. */
  low: number;
  high: number;
}

/**
 * The value below which a share of the values lies, interpolated between the two nearest.
 *
 * @param values in any order; NaN for none
 * @param share from 0 to 1
 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] as number;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number;
  return low + (high - low) * (place - below);
}

/** The middle value. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Median and quartiles: a benchmark's outliers are other processes, and say nothing about the code. */
export function summarize(values: readonly number[]): Summary {
  return { median: median(values), p25: quantile(values, 0.25), p75: quantile(values, 0.75), samples: values.length };
}

/** A summary in another unit. */
export function scaled({ median, p25, p75, samples }: Summary, factor: number): Summary {
  return { median: median * factor, p25: p25 * factor, p75: p75 * factor, samples };
}

/**
 * Compares series that were measured in turns: values of one index belong to one round, in which the machine was in one
 * state. So whole rounds are resampled, and a slow minute doesn't look like a difference.
 *
 * @param numerator one value a round
 * @param denominator one value a round
 */
export function compare(
  numerator: readonly number[],
  denominator: readonly number[],
  { resamples = 2000, seed = 1 } = {},
): Comparison {
  const rounds = Math.min(numerator.length, denominator.length);
  const a = numerator.slice(0, rounds);
  const b = denominator.slice(0, rounds);
  const perRound = a.map((value, i) => value / (b[i] as number));
  const random = lehmer(seed);
  const resampled = Array.from({ length: resamples }, () => {
    const picks = Array.from({ length: rounds }, () => Math.floor(random() * rounds));
    return median(picks.map((i) => a[i] as number)) / median(picks.map((i) => b[i] as number));
  });
  return {
    ratio: median(a) / median(b),
    p25: quantile(perRound, 0.25),
    p75: quantile(perRound, 0.75),
    low: quantile(resampled, 0.025),
    high: quantile(resampled, 0.975),
  };
}

/** Multiplies all figures of a comparison, as where the two sides do different amounts of work. */
export function scaledComparison({ ratio, p25, p75, low, high }: Comparison, factor: number): Comparison {
  return { ratio: ratio * factor, p25: p25 * factor, p75: p75 * factor, low: low * factor, high: high * factor };
}

/** Park and Miller's generator: the same resamples at every run, without opening a device for them. */
function lehmer(seed: number): () => number {
  let state = Math.max(1, seed % 0x7fffffff);
  return () => {
    state = (state * 48271) % 0x7fffffff;
    return state / 0x7fffffff;
  };
}
