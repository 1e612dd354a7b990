import { check } from '../lib/errors.js';
import type {
  BeliefPadding,
  NormSpec,
  RunningStats,
  Transition,
  TransitionGradient,
  WeightStandardization,
} from '../lib/index.js';
import { defaultStandardization } from '../lib/models/norm-spec.js';
import { nearest } from '../lib/options.js';
import type { Experiment, ReferenceSpec } from './experiment.js';
import { choice, type Flag, number } from './flags.js';

const reference: ReferenceSpec = { type: 'reference-kalman', gain: 0.1 };

/** What `--norm` may say: the label of its curve, and its options as far as no flag sets them. */
const norms: Readonly<Record<NormSpec['type'], Pick<Experiment, 'label' | 'norm' | 'reference'>>> = {
  batch: { label: 'BN', norm: { type: 'batch' } },
  'sync-batch': { label: 'SyncBN', norm: { type: 'sync-batch' } },
  group: { label: 'GN', norm: { type: 'group', groups: 4 } },
  layer: { label: 'LN', norm: { type: 'layer' } },
  instance: { label: 'IN', norm: { type: 'instance' } },
  frn: { label: 'FRN + TLU', norm: { type: 'frn' } },
  evonorm: { label: 'EvoNorm-S0', norm: { type: 'evonorm', groups: 4 } },
  'batch-renorm': { label: 'BRN', norm: { type: 'batch-renorm' } },
  'batch-channel': { label: 'BCN', norm: { type: 'batch-channel', groups: 4 } },
  mabn: { label: 'MABN', norm: { type: 'mabn' } },
  'normalizer-free': { label: 'NF', norm: { type: 'normalizer-free' } },
  kalman: { label: 'KN', norm: { type: 'kalman' }, reference },
  'group-kalman': { label: 'GKN', norm: { type: 'group-kalman', groups: 4 } },
  'reference-kalman': { label: 'KN', norm: reference },
};

export const normNames = Object.keys(norms) as NormSpec['type'][];

/** Whether layers of this normalization have a filter. */
export function hasFilter({ type }: NormSpec): boolean {
  return type === 'kalman' || type === 'reference-kalman';
}

/** The experiment that `--norm` makes of one that takes any normalization. */
export function chosenNorm(experiment: Experiment, name: string | undefined): Experiment {
  if (name === undefined) return experiment;
  check(experiment.anyNorm === true, 'INVALID_ARGUMENT', `--norm has no meaning for ${experiment.name}`);
  const known = normNames.find((one) => one === name);
  const near = nearest(name, normNames);
  check(
    known !== undefined,
    'INVALID_ARGUMENT',
    `--norm: expected one of ${normNames.join(', ')}, got "${name}"${near === null ? '' : `; did you mean ${near}?`}`,
  );
  const { reference: _, ...rest } = experiment;
  return { ...rest, ...norms[known as NormSpec['type']] };
}

/** A curve's label, with what tells it apart from that of the experiment's defaults. */
export function labelOf(
  experiment: Experiment,
  norm: NormSpec,
  standardization: WeightStandardization,
  batchSize: number,
): string {
  const parts = [(standardization === defaultStandardization(norm) ? '' : 'WS + ') + experiment.label];
  if (experiment.anyNorm && 'splits' in norm) parts.push(`micro-batch ${batchSize / (norm.splits ?? 1)}`);
  if (norm.type === 'reference-kalman') parts.push('reference');
  if (norm.type === 'reference-kalman' && norm.transition === 'analytic') parts.push('analytic');
  return parts.join(', ');
}

/** A normalization whose averages move as far by the parts of a batch, one after the other, as by the batch. */
export function inParts(norm: NormSpec, parts: number): NormSpec {
  if (parts === 1) return norm;
  const share = (rate: number) => 1 - (1 - rate) ** (1 / parts);
  switch (norm.type) {
    case 'kalman':
    case 'group-kalman': {
      const { momentum = 0.1, correction = 0.1, adaptation = 0.1 } = norm;
      return { ...norm, momentum: share(momentum), correction: share(correction), adaptation: share(adaptation) };
    }
    case 'batch':
    case 'sync-batch':
    case 'batch-renorm':
    case 'batch-channel':
    case 'reference-kalman':
      return { ...norm, momentum: share(norm.momentum ?? 0.1) };
    default:
      // MABN's averages move by micro-batches anyway.
      return norm;
  }
}

const ofReference =
  (pick: (norm: ReferenceSpec) => string | number | undefined, fallback: string | number) =>
  ({ norm, reference }: Experiment) =>
    pick(reference ?? (norm as ReferenceSpec)) ?? fallback;

/** Flags that only some normalizations know, with their defaults. */
export const normFlags = {
  splits: {
    type: 'string',
    help: 'groups of samples that are normalized apart',
    absent: ({ norm }: Experiment) => ('splits' in norm && norm.splits) || 1,
  },
  groups: {
    type: 'string',
    help: 'groups of channels that are normalized together',
    absent: ({ norm }: Experiment) => ('groups' in norm && norm.groups) || 4,
  },
  preset: {
    type: 'string',
    help: 'the Kalman filter: corrected, or reference, as the authors coded it',
    absent: ({ norm }: Experiment) => (norm.type === 'kalman' ? 'corrected' : 'reference'),
  },
  gain: {
    type: 'string',
    help: 'weight of the batch statistics against the prior (1 - p_rate), or adaptive; with --preset reference, or learned',
    absent: ({ norm, reference }: Experiment) => {
      if (norm.type === 'reference-kalman') return norm.gain;
      return reference ? `adaptive; reference: ${reference.gain}` : 'adaptive';
    },
  },
  correction: {
    type: 'string',
    help: "weight of a step's innovation in the belief's correction",
    absent: 0.1,
  },
  'observation-gradient': {
    type: 'string',
    help: "share of the gradient that flows through the batch's statistics, or auto: 1 - 1/m for m samples in a split (or channels in a group), observed: its square",
    absent: 'auto',
  },
  'transition-gradient': {
    type: 'string',
    help: "gradient of a believed variance to the filter: closed-form, or observed, as earlier steps' samples show",
    absent: 'observed',
  },
  'running-stats': {
    type: 'string',
    help: 'what inference uses: all-splits or first-split',
    absent: ofReference((n) => n.runningStats, 'all-splits'),
  },
  'r-max': { type: 'string', help: 'largest ratio of deviations that batch renormalization makes up for', absent: 3 },
  'd-max': {
    type: 'string',
    help: 'largest distance of means that it makes up for, in deviations',
    absent: 5,
  },
  window: { type: 'string', help: 'how many micro-batches a moving average of MABN has', absent: 16 },
  alpha: { type: 'string', help: "factor on a normalizer-free block's branch", absent: 0.2 },
  transition: {
    type: 'string',
    help: '--preset reference: sampled or analytic',
    absent: ofReference((n) => n.transition, 'sampled'),
  },
  'belief-padding': {
    type: 'string',
    help: '--preset reference: aligned or reference',
    absent: ofReference((n) => n.beliefPadding, 'aligned'),
  },
} as const satisfies Record<string, Flag<Experiment>>;

type NormFlag = keyof typeof normFlags;

const meaningful: Readonly<Record<NormSpec['type'], readonly NormFlag[]>> = {
  group: ['groups'],
  layer: [],
  instance: [],
  frn: [],
  evonorm: ['groups'],
  batch: ['splits', 'running-stats'],
  'sync-batch': [],
  'batch-renorm': ['splits', 'running-stats', 'r-max', 'd-max'],
  'batch-channel': ['splits', 'running-stats', 'groups'],
  mabn: ['splits', 'window'],
  'normalizer-free': ['alpha'],
  kalman: ['splits', 'preset', 'gain', 'correction', 'observation-gradient', 'transition-gradient'],
  'group-kalman': ['groups', 'gain', 'correction', 'observation-gradient', 'transition-gradient'],
  'reference-kalman': ['splits', 'preset', 'running-stats', 'gain', 'transition', 'belief-padding'],
};

/** The flags that a normalization knows. */
export function flagsOf(norm: NormSpec): readonly NormFlag[] {
  return meaningful[norm.type];
}

/**
 * The normalization of an experiment, as flags change it.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for bad values, and for flags that it doesn't know
 */
export function normOf(
  experiment: Experiment,
  text: (flag: NormFlag) => string | undefined,
  whole: (flag: NormFlag, fallback: number, least: number) => number,
): NormSpec {
  const { name, anyNorm } = experiment;
  const own = experiment.norm.type === 'reference-kalman' ? 'reference' : 'corrected';
  const preset = choice('preset', text('preset'), own, ['corrected', 'reference']);
  const norm = preset === 'reference' ? (experiment.reference ?? experiment.norm) : experiment.norm;
  for (const flag of Object.keys(normFlags) as NormFlag[]) {
    const known = text(flag) === undefined || flagsOf(norm).includes(flag);
    const program = anyNorm ? `${name} with --norm ${experiment.norm.type}` : name;
    const where = experiment.reference ? `${program}${anyNorm ? ' and' : ' with'} --preset ${preset}` : program;
    check(known, 'INVALID_ARGUMENT', `--${flag} has no meaning for ${where}`);
  }
  check(
    preset === own || experiment.reference !== undefined,
    'INVALID_ARGUMENT',
    `--preset: expected reference, got "${preset}"; the corrected filter is --norm kalman`,
  );
  if (norm.type === 'layer' || norm.type === 'instance' || norm.type === 'frn') return norm;
  if (norm.type === 'sync-batch') return norm;
  if (norm.type === 'group' || norm.type === 'evonorm') return { ...norm, groups: groupsOf(text, norm.groups ?? 4) };
  if (norm.type === 'normalizer-free') {
    const isFactor = (value: number) => value >= 1e-9 && value <= 1e9;
    return { ...norm, alpha: number('alpha', text('alpha'), 0.2, isFactor, 'a positive number') };
  }
  const share = (flag: NormFlag, fallback: number, expected = 'a number from 0 to 1') =>
    number(flag, text(flag), fallback, (value) => value >= 0 && value <= 1, expected);
  const shareOr = <Word extends string>(flag: NormFlag, word: Word): Word | number =>
    (text(flag) ?? word) === word ? word : share(flag, 0, `"${word}" or a number from 0 to 1`);
  const filter = () => ({
    gain: shareOr('gain', 'adaptive'),
    correction: share('correction', 0.1),
    observationGradient: shareOr('observation-gradient', 'auto'),
    transitionGradient: choice<TransitionGradient>('transition-gradient', text('transition-gradient'), 'observed', [
      'closed-form',
      'observed',
    ]),
  });
  if (norm.type === 'group-kalman') return { ...norm, groups: groupsOf(text, norm.groups ?? 4), ...filter() };
  const splits = whole('splits', norm.splits ?? 1, 1);
  if (norm.type === 'mabn') return { ...norm, splits, window: whole('window', 16, 2) };
  if (norm.type === 'kalman') return { ...norm, splits, ...filter() };
  const runningStats = choice<RunningStats>('running-stats', text('running-stats'), norm.runningStats ?? 'all-splits', [
    'all-splits',
    'first-split',
  ]);
  if (norm.type === 'batch') return { ...norm, splits, runningStats };
  if (norm.type === 'batch-channel') {
    return { ...norm, splits, runningStats, groups: groupsOf(text, norm.groups ?? 4) };
  }
  if (norm.type === 'batch-renorm') {
    const limit = (flag: NormFlag, fallback: number, least: number) =>
      number(
        flag,
        text(flag),
        fallback,
        (value) => value >= least && value < Infinity,
        `a number of at least ${least}`,
      );
    return { ...norm, splits, runningStats, rMax: limit('r-max', 3, 1), dMax: limit('d-max', 5, 0) };
  }
  return {
    ...norm,
    splits,
    runningStats,
    gain:
      text('gain') === 'learned' ? 'learned' : share('gain', norm.gain as number, '"learned" or a number from 0 to 1'),
    transition: choice<Transition>('transition', text('transition'), norm.transition ?? 'sampled', [
      'sampled',
      'analytic',
    ]),
    beliefPadding: choice<BeliefPadding>('belief-padding', text('belief-padding'), norm.beliefPadding ?? 'aligned', [
      'aligned',
      'reference',
    ]),
  };
}

function groupsOf(text: (flag: NormFlag) => string | undefined, fallback: number): number {
  const divides = (value: number) => [1, 2, 4, 8, 16].includes(value);
  return number('groups', text('groups'), fallback, divides, 'a divisor of 16');
}
