import { incidental } from '../incidental.js';
import { type EpochRecord, labelOf, type Run, type RunStatus } from './log.js';

/** Mean and spread of one figure over runs. */
export interface Spread {
  readonly mean: number;
  /** Sample standard deviation; 0 for a single run. */
  readonly deviation: number;
  readonly lowest: number;
  readonly highest: number;
  readonly count: number;
}

/** Sums up figures; null where there is none. What isn't a number in a run doesn't count. */
export function spreadOf(figures: readonly (number | null)[]): Spread | null {
  const values = figures.filter((value) => value !== null);
  if (values.length === 0) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    mean,
    deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0,
    lowest: Math.min(...values),
    highest: Math.max(...values),
    count: values.length,
  };
}

/** What runs of one configuration may differ in. */
const personal = new Set<string>([
  ...incidental,
  'seed',
  'logDir',
  'dataDir',
  'download',
  'deviceDescription',
  'datasetNote',
  'threads',
]);

function configurationOf({ config }: Run): string {
  return JSON.stringify(Object.entries(config).filter(([key]) => !personal.has(key)));
}

/**
 * Puts runs together that differ in nothing but their seed: one run whose figures are their means, with the runs as its
 * `members`; a repetition of a seed stays by itself. Its label is theirs with the number of seeds. Only epochs count that
 * all members have. The order is that of the first members.
 */
export function groupRuns(runs: readonly Run[]): Run[] {
  const groups = new Map<string, Run[]>();
  for (const [i, run] of runs.entries()) {
    const configuration = configurationOf(run);
    const seeds = groups.get(configuration)?.map(({ config }) => config.seed);
    // A seed that is there already: a repetition, which would only make the spread look small.
    const key = seeds?.includes(run.config.seed) ? `${configuration} ${i}` : configuration;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()].map((members) => (members.length === 1 ? (members[0] as Run) : meanRun(members)));
}

function meanRun(members: readonly Run[]): Run {
  const [first] = members as readonly [Run, ...Run[]];
  const epochs = first.epochs.flatMap(({ epoch }) => {
    const same = members.map((run) => run.epochs.find((other) => other.epoch === epoch));
    return same.every((found) => found !== undefined) ? [meanEpoch(same as EpochRecord[])] : [];
  });
  const name = labelOf(first.config) ?? first.dir;
  const statuses = new Set(members.map(({ status }) => status));
  return {
    dir: first.dir,
    label: `${name} (${members.length} seeds)`,
    config: { ...first.config, seed: members.map(({ config }) => config.seed) },
    epochs,
    status:
      statuses.size === 1
        ? first.status
        : (['diverged', 'interrupted', 'running'] as RunStatus[]).find((s) => statuses.has(s))!,
    remarks: members.flatMap(({ remarks, dir }) => remarks.map((remark) => `${dir}: ${remark}`)),
    members,
    isReference: members.every((run) => run.isReference === true),
  };
}

function meanEpoch(epochs: readonly EpochRecord[]): EpochRecord {
  const mean = (figure: keyof EpochRecord) => {
    const values = epochs.map((epoch) => epoch[figure] as number | null);
    // A mean over those that are left would be another's.
    return values.includes(null) ? null : (spreadOf(values)?.mean ?? null);
  };
  const [{ epoch, step, learningRate }] = epochs as readonly [EpochRecord, ...EpochRecord[]];
  return {
    type: 'epoch',
    epoch,
    step,
    learningRate,
    trainLoss: mean('trainLoss'),
    trainError: mean('trainError'),
    validationLoss: mean('validationLoss'),
    validationError: mean('validationError'),
    imagesPerSecond: mean('imagesPerSecond'),
    seconds: mean('seconds'),
  };
}
