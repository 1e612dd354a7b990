import type { LayerFigures } from './figures.js';

/** How values become shades of a picture: 0 is white, 1 the one colour, -1 the other. The same in every picture. */
export interface Scale {
  readonly shade: (value: number) => number;
  readonly lowest: 0 | -1;
  /** The values whose shades are the lowest and the highest. */
  readonly ends: readonly [string, string];
}

const within = (value: number, least: number) => Math.min(1, Math.max(least, value));

/** Sizes over some powers of ten. */
const sizes = (from: number, to: number): Scale => ({
  shade: (value) => within(Math.log(Math.abs(value) / from) / Math.log(to / from), 0),
  lowest: 0,
  ends: [`${from}`, `${to}`],
});

const signed = (most: number): Scale => ({
  shade: (value) => within(value / most, -1),
  lowest: -1,
  ends: [`−${most}`, `${most}`],
});

/** Ratios, of which 1 is white. */
const ratios = (most: number): Scale => ({
  shade: (value) => within(Math.log(value) / Math.log(most), -1),
  lowest: -1,
  ends: [`1/${most}`, `${most}`],
});

/** A figure to follow over time. */
export interface Followed {
  readonly name: string;
  readonly of: (layer: LayerFigures) => number | null | undefined;
  readonly scale: Scale;
}

const bias = sizes(0.003, 1);

/** Figures to follow over time, in rows of four. */
export const followed: readonly Followed[] = [
  { name: 'bias of the prior (σ)', of: ({ prior }) => prior?.bias, scale: bias },
  { name: 'bias of the belief (σ)', of: ({ belief }) => belief?.bias, scale: bias },
  { name: 'bias of the observation (σ)', of: ({ observation }) => observation.bias, scale: bias },
  { name: 'bias of the posterior (σ)', of: ({ posterior }) => posterior.bias, scale: bias },
  { name: 'ln variance ratio, prior', of: ({ prior }) => prior?.logRatio, scale: signed(1) },
  { name: 'ln variance ratio, belief', of: ({ belief }) => belief?.logRatio, scale: signed(1) },
  { name: 'ln variance ratio, observation', of: ({ observation }) => observation.logRatio, scale: signed(1) },
  { name: 'ln variance ratio, posterior', of: ({ posterior }) => posterior.logRatio, scale: signed(1) },
  { name: 'log-likelihood lost (nats)', of: ({ logLikelihood }) => logLikelihood, scale: sizes(0.0001, 1) },
  { name: 'lag-1 correlation, mean', of: ({ autocorrelation }) => autocorrelation?.mean, scale: signed(1) },
  { name: 'lag-1 correlation, ln variance', of: ({ autocorrelation }) => autocorrelation?.variance, scale: signed(1) },
  { name: 'innovation² over expected', of: ({ consistency }) => consistency, scale: ratios(4) },
  { name: 'gain of means', of: ({ gain }) => gain.mean, scale: sizes(0.01, 1) },
  { name: 'gain of ln variances', of: ({ gain }) => gain.variance, scale: sizes(0.01, 1) },
  { name: 'guard trips', of: ({ guardTrips }) => guardTrips, scale: sizes(0.01, 1) },
  { name: 'gradient norm', of: ({ gradientNorm }) => gradientNorm, scale: sizes(0.01, 10) },
];

/** For TensorBoard, which shows what stands before the slash together. */
export function filterScalars(layers: readonly LayerFigures[]): Record<string, number | null> {
  return Object.fromEntries(
    layers.flatMap((layer) => followed.map(({ name, of }) => [`${name}/${layer.layer}`, of(layer) ?? null])),
  );
}
