import type { Distance, LayerFigures, Pair } from './figures.js';

/** A figure with three digits behind the point; a dash where there is none. */
function figure(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? '–' : value.toFixed(3);
}

const distance = (value: Distance | null) => [figure(value?.bias), figure(value?.logRatio)];
const pair = (value: Pair | null) => [figure(value?.mean), figure(value?.variance)];

/** Of each column group its heading, what its columns are, and their figures of a layer. */
const groups: readonly (readonly [head: string, columns: readonly string[], of: (layer: LayerFigures) => string[]])[] =
  [
    ['prior', ['bias', 'ln var'], ({ prior }) => distance(prior)],
    ['belief', ['bias', 'ln var'], ({ belief }) => distance(belief)],
    ['observation', ['bias', 'ln var'], ({ observation }) => distance(observation)],
    ['posterior', ['bias', 'ln var'], ({ posterior }) => distance(posterior)],
    ['running', ['bias', 'ln var'], ({ running }) => distance(running)],
    ['log-lik.', ['nats'], ({ logLikelihood }) => [figure(logLikelihood)]],
    ['innovation', ['mean', 'ln var'], ({ innovation }) => pair(innovation)],
    ['lag-1 corr.', ['mean', 'ln var'], ({ autocorrelation }) => pair(autocorrelation)],
    ['²/exp.', ['mean'], ({ consistency }) => [figure(consistency)]],
    ['gain', ['mean', 'ln var'], ({ gain }) => pair(gain)],
    ['guard', ['trips'], ({ guardTrips }) => [figure(guardTrips)]],
    ['gradient', ['norm'], ({ gradientNorm }) => [figure(gradientNorm)]],
  ];

/** A line a layer, for the terminal. */
export function renderLayers(layers: readonly LayerFigures[]): string {
  const width = 7;
  const first = Math.max(...layers.map(({ layer }) => layer.length));
  const row = (name: string, cells: readonly (readonly string[])[]) =>
    [name.padEnd(first), ...cells.map((group) => group.map((cell) => cell.padStart(width)).join(''))]
      .join(' ')
      .trimEnd();
  const heads = groups.map(([head, columns]) => head.padStart(width * columns.length));
  return [
    [''.padEnd(first), ...heads].join(' '),
    row(
      'layer',
      groups.map(([, columns]) => columns),
    ),
    ...layers.map((layer) =>
      row(
        layer.layer,
        groups.map(([, , of]) => of(layer)),
      ),
    ),
  ].join('\n');
}

/** The layer whose belief is farthest from the truth, for a line. */
export function summaryOf(layers: readonly LayerFigures[]): string {
  const known = layers.filter(({ logLikelihood }) => logLikelihood !== null);
  const [worst] = known.sort((a, b) => (a.logLikelihood as number) - (b.logLikelihood as number));
  if (!worst) return 'filter: nothing is believed of any layer';
  const { layer, belief, posterior, logLikelihood } = worst;
  const off = (value: Distance | null) => `${figure(value?.bias)} σ, ln var ${figure(value?.logRatio)}`;
  return `filter: farthest off in ${layer}, log-likelihood ${figure(logLikelihood)}: belief ${off(belief)}; posterior ${off(posterior)}`;
}
