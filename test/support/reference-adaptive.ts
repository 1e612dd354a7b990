import { map, type NdArray, ndarray, sizes, vector } from './array.js';
import type { Scaling, Statistics } from './reference.js';
import * as plain from './reference.js';
import type { Hold } from './reference-kalman.js';

export interface AdaptiveCase extends Scaling {
  splits: number;
  prior: Statistics | null;
  /** [12, C]: offset, log ratio, mean's error and noise, variance's, the last innovations, steps, variance's bias, innovation. */
  state: NdArray;
  /** The state of the normalization before in a residual stream, behind its step. */
  upstream?: NdArray | null;
  running: Statistics;
  gain: number | 'adaptive';
  correction: number;
  adaptation: number;
  gate: number;
  momentum: number;
  observationGradient: number;
}

export interface AdaptiveReference {
  output: NdArray;
  belief: Statistics;
  state: NdArray;
  running: Statistics;
}

const EPSILON = 1e-5;
const mean = (values: number[]) => values.reduce((total, value) => total + value, 0) / values.length;
const variance = (values: number[]) => mean(values.map((value) => (value - mean(values)) ** 2));

/** Weight of the newest of `steps + 1` values. */
const weight = (momentum: number, steps: number) => (momentum === 0 ? 0 : Math.max(momentum, 1 / (steps + 1)));

/** One quantity of one channel: its innovations, their gains, and error and noise after the step. */
function gains(c: AdaptiveCase, innovations: number[], error: number, noise: number): number[] {
  return innovations.map((i) => {
    if (c.gain !== 'adaptive') return c.gain;
    const own = Math.max(0, error, i * i - c.gate * noise);
    return own / (own + noise + 1e-6);
  });
}

function quality(innovations: number[], last: number | null): [error: number, noise: number] {
  if (innovations.length > 1) {
    const spread = variance(innovations);
    return [mean(innovations) ** 2 - spread / innovations.length, spread];
  }
  const [only] = innovations as [number];
  return last === null ? [0, 0] : [only * last, (only - last) ** 2 / 2];
}

/** Kalman normalization by the adaptive filter, channel by channel, as docs/filter.md has it. */
export function adaptiveKalmanNorm(x: NdArray, c: AdaptiveCase, hold: Hold): AdaptiveReference {
  const { splits } = c;
  const channels = x.shape[1]!;
  const observation = plain.moments(x, splits);
  const state = map(c.state, (value) => value);
  const running = { mean: map(c.running.mean, (v) => v), variance: map(c.running.variance, (v) => v) };
  const belief = { mean: ndarray([channels]), variance: ndarray([channels]) };
  const posterior = { mean: ndarray([splits * channels]), variance: ndarray([splits * channels]) };
  for (let channel = 0; channel < channels; channel++) {
    const row = (index: number) => state.data[index * channels + channel]!;
    const set = (index: number, value: number) => {
      state.data[index * channels + channel] = value;
    };
    const steps = row(8);
    const cells = Array.from({ length: splits }, (_, s) => s * channels + channel);
    const means = cells.map((cell) => observation.mean.data[cell]!);
    const variances = cells.map((cell) => observation.variance.data[cell]!);
    const [priorMean, priorVar] = c.prior
      ? [c.prior.mean.data[channel]!, c.prior.variance.data[channel]! + EPSILON]
      : [0, 1 + EPSILON];
    const pooledMean = mean(means);
    const observedVar = mean(variances) + variance(means) + EPSILON;
    const priming = steps === 0 && c.correction > 0;
    const [offset, logRatio] = hold(
      priming ? [(pooledMean - priorMean) / Math.sqrt(priorVar), Math.log(observedVar / priorVar)] : [row(0), row(1)],
    ) as [number, number];
    const center = priorMean + offset * Math.sqrt(priorVar);
    const logVar = Math.log(priorVar) + logRatio;
    const sigma = Math.exp(logVar / 2);
    belief.mean.data[channel] = center;
    belief.variance.data[channel] = Math.exp(logVar) - EPSILON;
    const ofMean = means.map((value) => (value - center) / sigma);
    // Seen around the belief where there is one split alone, which has no spread.
    const pooledVar = splits > 1 ? observedVar : observedVar + (pooledMean - center) ** 2;
    const bias = c.gain === 'adaptive' ? row(9) : 0;
    const ofVar = variances.map((value) => Math.log(value + EPSILON) - logVar - bias);
    // The first step's belief is the mean of these very observations.
    const unknown = priming ? Number.POSITIVE_INFINITY : 0;
    const gainMean = hold(gains(c, ofMean, row(2), row(3) + unknown));
    const gainVar = hold(gains(c, ofVar, row(4), row(5) + unknown));
    const values = hold({ means, center, logs: variances.map((v) => Math.log(v + EPSILON)), logVar });
    const posts = cells.map((cell, s) => {
      const share = (gain: number) => (c.prior ? gain + c.observationGradient * (1 - gain) : 1);
      const [gm, gv] = [gainMean[s]!, gainVar[s]!];
      // What a gradient sees move: the observation by its share, the belief by the rest, around the fused value.
      const m =
        values.center +
        gm * (values.means[s]! - values.center) +
        share(gm) * (means[s]! - values.means[s]!) +
        (1 - share(gm)) * (center - values.center);
      const log =
        values.logVar +
        gv * (values.logs[s]! - bias - values.logVar) +
        share(gv) * (Math.log(variances[s]! + EPSILON) - values.logs[s]!) +
        (1 - share(gv)) * (logVar - values.logVar);
      posterior.mean.data[cell] = m;
      posterior.variance.data[cell] = Math.exp(log) - EPSILON;
      return [m, Math.exp(log) - EPSILON] as const;
    });
    const average = weight(c.momentum, steps);
    const toward = (from: number, to: number, by: number) => from + by * (to - from);
    const postMeans = posts.map(([m]) => m);
    running.mean.data[channel] = toward(running.mean.data[channel]!, mean(postMeans), average);
    const pooledPosterior = mean(posts.map(([, v]) => v)) + variance(postMeans);
    running.variance.data[channel] = toward(running.variance.data[channel]!, pooledPosterior, average);
    const correct = weight(c.correction, steps);
    // The prior as it would have been of a belief that knew what the normalization before has seen.
    const informedMean = priorMean + (c.upstream?.data[10 * channels + channel] ?? 0);
    const informedVar = priorVar + (c.upstream?.data[11 * channels + channel] ?? 0);
    set(0, toward(offset, (pooledMean - informedMean) / Math.sqrt(informedVar), correct));
    set(1, toward(logRatio, Math.log(pooledVar / informedVar), correct));
    set(10, pooledMean - center);
    set(11, pooledVar - Math.exp(logVar));
    const adapt = weight(c.adaptation, steps);
    const [meanError, meanNoise] = quality(ofMean, steps > 0 ? row(6) : null);
    const [varError, varNoise] = quality(ofVar, steps > 0 ? row(7) : null);
    for (const [index, value] of [meanError, meanNoise, varError, varNoise].entries()) {
      set(2 + index, toward(row(2 + index), value, adapt));
    }
    set(6, mean(ofMean));
    set(7, mean(ofVar));
    set(8, steps + 1);
    set(9, toward(row(9), mean(ofVar) + bias - (Math.log(pooledVar) - logVar), adapt));
  }
  return { output: plain.normalize(x, posterior, c), belief, state, running };
}

/**
 * Group Kalman normalization: the adaptive filter with groups of channels in the place of channels, single samples in that
 * of splits, as docs/filter.md has it. `believed`: of the output, before a ReLU; `input`: the prior, corrected.
 */
export function groupKalmanNorm(
  x: NdArray,
  c: Omit<AdaptiveCase, 'splits'> & { groups: number; gamma: NdArray; beta: NdArray },
  hold: Hold,
): Omit<AdaptiveReference, 'belief'> & { believed: Statistics | null; input: Statistics } {
  const { groups, prior, gamma, beta, relu = false } = c;
  const [samples, channels, height, width] = sizes(x);
  const size = channels / groups;
  const groupOf = (channel: number) => Math.floor(channel / size);
  const over = (of: NdArray) =>
    Array.from({ length: groups }, (_, g) => [...of.data].filter((_, channel) => groupOf(channel) === g));
  const means = prior && over(prior.mean);
  const group = prior &&
    means && {
      mean: vector(means.map(mean)),
      variance: vector(over(prior.variance).map((own, g) => mean(own) + variance(means[g]!))),
    };
  const { output, belief, state, running } = adaptiveKalmanNorm(
    { shape: [samples, groups, size * height, width], data: x.data },
    { ...c, splits: samples, prior: group, gamma: null, beta: null, relu: false },
    hold,
  );
  const scaled = map({ shape: x.shape, data: output.data }, (value, i) => {
    const channel = Math.floor(i / (height * width)) % channels;
    return value * gamma.data[channel]! + beta.data[channel]!;
  });
  const perChannel = (of: (channel: number) => number) => vector(Array.from({ length: channels }, (_, i) => of(i)));
  const at = (of: Statistics, channel: number) => {
    const g = of.mean.data.length === groups ? groupOf(channel) : channel;
    return { mean: of.mean.data[g]!, power: of.variance.data[g]! + EPSILON };
  };
  // A channel in deviations of its group's prior, and its share of the variance.
  const distance = (channel: number) =>
    prior && group ? (prior.mean.data[channel]! - at(group, channel).mean) / Math.sqrt(at(group, channel).power) : 0;
  const share = (channel: number) => (prior && group ? prior.variance.data[channel]! / at(group, channel).power : 1);
  return {
    output: relu ? plain.relu(scaled) : scaled,
    state,
    running,
    believed: prior && {
      mean: perChannel((i) => gamma.data[i]! * distance(i) + beta.data[i]!),
      variance: perChannel((i) => gamma.data[i]! ** 2 * share(i)),
    },
    input: {
      mean: perChannel((i) => at(belief, i).mean + distance(i) * Math.sqrt(at(belief, i).power)),
      variance: perChannel((i) => (prior ? share(i) * at(belief, i).power : at(belief, i).power - EPSILON)),
    },
  };
}
