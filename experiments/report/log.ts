import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { shortened, shownJson } from '../../lib/arguments.js';
import { check, KalmanNormError } from '../../lib/errors.js';
import { readWholeFile } from '../../lib/io/read-file.js';
import type { LayerFigures } from '../diagnosis/figures.js';
import { followed } from '../diagnosis/followed.js';

/** The file that every run writes into its folder: one JSON object a line. */
export const logFile = 'log.jsonl';

/** The figures of one epoch. A figure that wasn't a number in the run, such as a diverged loss, is null in the log. */
export interface EpochRecord {
  readonly type: 'epoch';
  /** Counted from 1. */
  readonly epoch: number;
  /** Training steps since the start of the run. */
  readonly step: number;
  readonly learningRate: number | null;
  readonly trainLoss: number | null;
  /** Errors are shares from 0 to 1. */
  readonly trainError: number | null;
  readonly validationLoss: number | null;
  readonly validationError: number | null;
  readonly imagesPerSecond: number | null;
  readonly seconds: number | null;
}

/** How a run ended; `running` where its log has no end yet. */
export type RunStatus = 'finished' | 'interrupted' | 'diverged' | 'running';

/** What the filters of a network were doing behind one epoch. */
export interface DiagnosisRecord {
  readonly epoch: number;
  /** In the order in which samples pass through, each with the figures that are {@link followed}, in their order. */
  readonly layers: readonly { readonly layer: string; readonly figures: readonly (number | null)[] }[];
}

/** One run as its log tells it. */
export interface Run {
  /** The folder of the run. */
  readonly dir: string;
  /** What to call the run in a legend. */
  readonly label: string;
  /** The full configuration, as the run wrote it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** In ascending order, each epoch once, at least one. */
  readonly epochs: readonly EpochRecord[];
  readonly status: RunStatus;
  /** Remarks for the reader of a report, such as a torn last line. */
  readonly remarks: readonly string[];
  /** What the filters did, of a run that was looked at (`--diagnose`); in ascending order. */
  readonly diagnoses?: readonly DiagnosisRecord[];
  /** The runs whose mean this is, where there are several seeds. */
  readonly members?: readonly Run[];
  /** Whether it is there for comparison: the chart draws it dashed, without its training error. */
  readonly isReference?: boolean;
}

/**
 * Reads the logs of several runs.
 *
 * @param dirs the folders of the runs
 * @throws KalmanNormError `INVALID_ARGUMENT` for no or a repeated folder; otherwise as {@link parseLog}, or
 *   `FILE_NOT_FOUND` for a folder without a log
 */
export async function readRuns(dirs: readonly string[]): Promise<Run[]> {
  check(dirs.length > 0, 'INVALID_ARGUMENT', 'RUN_DIR: expected at least one folder of a run, got none');
  const repeated = dirs.find((dir, i) => dirs.indexOf(dir) !== i);
  check(repeated === undefined, 'INVALID_ARGUMENT', `RUN_DIR: expected distinct folders, got ${repeated} twice`);
  const runs: Run[] = [];
  for (const dir of dirs) {
    const path = join(dir, logFile);
    const bytes = await readWholeFile(path, 'the log of a run', 2 ** 28);
    runs.push(parseLog(new TextDecoder().decode(bytes), dir));
  }
  return runs;
}

/**
 * The folders of runs among `dirs`, and those of the runs directly below one that is no run itself, as a sweep's is. Runs
 * below that have no epoch yet are left out. A folder without any stays, for {@link readRuns} to refuse.
 */
export async function runFolders(dirs: readonly string[]): Promise<string[]> {
  const text = (dir: string) => readFile(join(dir, logFile), 'utf8').catch(() => null);
  const found = dirs.map(async (dir) => {
    if ((await text(dir)) !== null) return [dir];
    const names = (await readdir(dir).catch(() => [])).sort().map((name) => join(dir, name));
    const logs = await Promise.all(names.map(text));
    const begun = names.filter((_, i) => logs[i]?.includes('\n{"type":"epoch"'));
    return begun.length > 0 ? begun : [dir];
  });
  return (await Promise.all(found)).flat();
}

/** Runs of one label get their folders into it, that a reader can tell them apart. */
export function distinguish(runs: readonly Run[]): Run[] {
  const isUnique = ({ label }: Run) => runs.filter((run) => run.label === label).length === 1;
  return runs.map((run) => (isUnique(run) ? run : { ...run, label: `${run.label} (${run.dir})` }));
}

/**
 * Interprets the text of a log: first the configuration, then a line an epoch, at last the end. Where an epoch
 * appears twice, as after a resumed run, the later line counts. Lines of other types are left to other readers. A
 * last line that isn't complete, from a run that was killed or is writing at this moment, is left out with a remark.
 *
 * @param text the content of `log.jsonl`
 * @param dir the folder of the run, for messages
 * @throws KalmanNormError `FILE_CORRUPT` for an empty log, a broken line before the last, a log that doesn't start
 *   with a configuration, or one without an epoch
 */
export function parseLog(text: string, dir: string): Run {
  const path = join(dir, logFile);
  const { records, torn } = parseLines(text, path);
  const [config] = records;
  check(config !== undefined, 'FILE_CORRUPT', `${path}: expected the lines of a run, but the log is empty`);
  check(
    config.type === 'config',
    'FILE_CORRUPT',
    () => `${path}: expected a first line of type "config", got ${shownJson(config.type)}`,
  );
  const byEpoch = new Map<number, EpochRecord>();
  const diagnoses = new Map<number, DiagnosisRecord>();
  let status: RunStatus = 'running';
  for (const [i, record] of records.entries()) {
    if (record.type === 'epoch') {
      const epoch = toEpoch(record, `${path}, line ${i + 1}`);
      byEpoch.set(epoch.epoch, epoch);
      // Epochs behind an end: the run was resumed.
      status = 'running';
    } else if (record.type === 'diagnosis') {
      const diagnosis = toDiagnosis(record, `${path}, line ${i + 1}`);
      diagnoses.set(diagnosis.epoch, diagnosis);
    } else if (record.type === 'end') {
      status = toStatus(record.reason, `${path}, line ${i + 1}`);
    }
  }
  check(
    byEpoch.size > 0,
    'FILE_CORRUPT',
    `${path}: expected at least one finished epoch, got none: nothing to draw yet`,
  );
  const { type: _, ...rest } = config;
  check(
    !isDeeper(rest, mostLevels),
    'FILE_CORRUPT',
    `${path}: expected a configuration of at most ${mostLevels} levels`,
  );
  return {
    dir,
    label: labelOf(config) ?? dir,
    config: rest,
    epochs: [...byEpoch.values()].sort((a, b) => a.epoch - b.epoch),
    status,
    ...(diagnoses.size > 0 && { diagnoses: [...diagnoses.values()].sort((a, b) => a.epoch - b.epoch) }),
    remarks: torn ? ['The last line of the log is torn and was left out.'] : [],
  };
}

/** Levels of a configuration. Ours have three; reports go through them level by level. */
const mostLevels = 16;

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

/** What a run's configuration calls it; null where it says no text. */
export function labelOf({ label, name }: Readonly<Record<string, unknown>>): string | null {
  return [label, name].find((text): text is string => typeof text === 'string') ?? null;
}

function parseLines(text: string, path: string) {
  const lines = text.split('\n');
  // A complete log ends with a line feed.
  if (lines.at(-1)?.trim() === '') lines.pop();
  const records: Record<string, unknown>[] = [];
  for (const [i, line] of lines.entries()) {
    try {
      const record: unknown = JSON.parse(line);
      if (typeof record !== 'object' || record === null) throw new SyntaxError(`${shortened(line)} is no object`);
      records.push(record as Record<string, unknown>);
    } catch (error) {
      if (i === lines.length - 1) return { records, torn: true };
      const message = `${path}, line ${i + 1}: expected a JSON object: ${(error as Error).message}`;
      throw new KalmanNormError('FILE_CORRUPT', message, { cause: error });
    }
  }
  return { records, torn: false };
}

function toCount(record: Record<string, unknown>, name: string, where: string): number {
  const value = record[name];
  const valid = typeof value === 'number' && Number.isInteger(value) && value >= 0;
  check(valid, 'FILE_CORRUPT', () => `${where}: ${name}: expected a count, got ${shownJson(value)}`);
  return value;
}

function toDiagnosis(record: Record<string, unknown>, where: string): DiagnosisRecord {
  try {
    const layers = (record.layers as LayerFigures[]).map((values) => {
      const figures = followed.map(({ of }) => of(values) ?? null);
      if (!figures.every((value) => value === null || Number.isFinite(value))) throw new TypeError('no number');
      if (typeof values.layer !== 'string') throw new TypeError('no layer');
      return { layer: values.layer, figures };
    });
    return { epoch: toCount(record, 'epoch', where), layers };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const message = `${where}: layers: expected the figures of filters: ${error.message}`;
    throw new KalmanNormError('FILE_CORRUPT', message, { cause: error });
  }
}

function toEpoch(record: Record<string, unknown>, where: string): EpochRecord {
  const figure = (name: string): number | null => {
    const value = record[name] ?? null;
    // Infinity too is no figure: JSON says it as 1e999.
    const valid = value === null || Number.isFinite(value);
    check(valid, 'FILE_CORRUPT', () => `${where}: ${name}: expected a number or null, got ${shownJson(value)}`);
    return value as number | null;
  };
  return {
    type: 'epoch',
    epoch: toCount(record, 'epoch', where),
    step: toCount(record, 'step', where),
    learningRate: figure('learningRate'),
    trainLoss: figure('trainLoss'),
    trainError: figure('trainError'),
    validationLoss: figure('validationLoss'),
    validationError: figure('validationError'),
    imagesPerSecond: figure('imagesPerSecond'),
    seconds: figure('seconds'),
  };
}

function toStatus(reason: unknown, where: string): RunStatus {
  if (reason === 'finished' || reason === 'interrupted' || reason === 'diverged') return reason;
  const message = `${where}: reason: expected finished, interrupted or diverged, got ${shownJson(reason)}`;
  throw new KalmanNormError('FILE_CORRUPT', message);
}
