import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TensorData } from '../addon/contract.js';
import { checkObjects, checkPath, shortened, shownJson } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { checkOptions } from '../options.js';
import { checkState, type StateValues } from '../state.js';
import type { Tensor } from '../tensor.js';
import { makeFolder } from './make-folder.js';
import { readWholeFile } from './read-file.js';
import { parseSafetensors, type SafetensorsTensor, writeSafetensors } from './safetensors.js';

/** What has a state that training goes on from: a module, an optimizer, a trainer. */
export interface Stateful {
  stateDict(): Map<string, Tensor>;
  stateValues(): Promise<StateValues>;
  loadStateDict(state: StateValues): void;
  /** Refuses values that `loadStateDict` refuses, names, shapes and types aside. Default: it takes all values */
  checkStateDict?(state: StateValues): void;
}

/** What {@link CheckpointFolder.load} found. */
export interface LoadedCheckpoint {
  readonly step: number;
  readonly path: string;
  /** What was saved beside the tensors. */
  readonly data: unknown;
  /** The newer checkpoints that couldn't be read, and why. */
  readonly warnings: readonly string[];
}

const VERSION = 1;
const KEY = 'kalman_norm.checkpoint';
const pattern = /^step-(\d{10})\.safetensors$/;

/**
 * A folder of checkpoints, one safetensors file each, named by its step: a damaged one leaves those before it. A file
 * holds the state of all parts, its metadata a digest of everything.
 *
 * @example
 * const checkpoints = new CheckpointFolder('run/checkpoints', { model, optimizer, trainer });
 * const found = await checkpoints.load(); // null in a new run
 * await checkpoints.save(step, { epoch });
 */
export class CheckpointFolder {
  private readonly keep: number;

  /**
   * @param parts whose states are saved and loaded, by name; `keep` (default 2) of the newest checkpoints stay
   */
  constructor(
    readonly path: string,
    private readonly parts: Readonly<Record<string, Stateful>>,
    options: { keep?: number } = {},
  ) {
    checkPath('CheckpointFolder', path);
    checkObjects('CheckpointFolder', { parts });
    checkOptions('CheckpointFolder', options, { keep: true });
    const { keep = 2 } = options;
    check(
      Number.isInteger(keep) && keep >= 1,
      'INVALID_ARGUMENT',
      `CheckpointFolder: keep must be a whole number of at least 1, got ${keep}`,
    );
    this.keep = keep;
  }

  /**
   * Saves the state as it is at the time of the call: what the device is told to do from then on doesn't change it, and
   * needn't wait. The file is written aside, brought to the disk and renamed; then old ones go.
   *
   * @param data plain JSON to keep with it
   * @throws KalmanNormError `INVALID_ARGUMENT` where no folder can be there; failures of the operating system, such as a
   *   full disk. The checkpoints before are unharmed
   */
  async save(step: number, data: unknown): Promise<void> {
    check(
      Number.isSafeInteger(step) && step >= 0 && step < 1e10,
      'INVALID_ARGUMENT',
      `save: step must be a whole number below 10^10, got ${step}`,
    );
    // All are asked before the first answers: the answers are of one moment.
    const states = Object.entries(this.parts).map(async ([part, stateful]) => {
      const state = await stateful.stateValues();
      return [...state].map(([name, { shape, data }]) => [`${part}/${name}`, tensorOf(shape, data)] as const);
    });
    const tensors = Object.fromEntries((await Promise.all(states)).flat());
    const content = JSON.stringify({ version: VERSION, step, data });
    await makeFolder('CheckpointFolder', this.path);
    const file = join(this.path, `step-${String(step).padStart(10, '0')}.safetensors`);
    await writeSafetensors(file, tensors, { [KEY]: content, digest: digestOf(content, tensors) });
    const old = (await this.list()).slice(0, -this.keep);
    for (const name of old) await rm(join(this.path, name), { force: true });
  }

  /**
   * Loads the newest checkpoint that can be read into the parts; null where there is none at all.
   *
   * @throws KalmanNormError `FILE_CORRUPT` where there are checkpoints and none can be read; `STATE_MISMATCH` where the
   *   newest readable one is of other parts; nothing is loaded then. `UNKNOWN_VERSION` where it is of a later version
   */
  async load(): Promise<LoadedCheckpoint | null> {
    const warnings: string[] = [];
    for (const name of (await this.list()).reverse()) {
      const path = join(this.path, name);
      try {
        const { step, data, states } = parseCheckpoint(
          await readWholeFile(path, 'a checkpoint'),
          path,
          Object.keys(this.parts),
        );
        const parts = Object.entries(this.parts).map(([part, own]) => ({
          part,
          own,
          state: states.get(part) as StateValues,
        }));
        for (const { part, own, state } of parts) checkState(own.stateDict(), state, part);
        for (const { own, state } of parts) checkValues(path, own, state);
        for (const { own, state } of parts) own.loadStateDict(state);
        return { step, path, data, warnings };
      } catch (error) {
        if (!(error instanceof KalmanNormError) || error.code !== 'FILE_CORRUPT') throw error;
        warnings.push(error.message);
      }
    }
    check(
      warnings.length === 0,
      'FILE_CORRUPT',
      () => `no checkpoint of ${this.path} can be read: ${warnings.join('; ')}`,
    );
    return null;
  }

  /** Names of the checkpoints, oldest first. */
  private async list(): Promise<string[]> {
    const names = await readdir(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => pattern.test(name)).sort();
  }
}

/**
 * Interprets the bytes of a checkpoint.
 *
 * @param parts names of the parts whose states it has
 * @throws KalmanNormError `FILE_CORRUPT`, `UNKNOWN_VERSION`, `STATE_MISMATCH`
 * @internal
 */
export function parseCheckpoint(bytes: Uint8Array, path: string, parts: readonly string[]) {
  const { tensors, metadata } = parseSafetensors(bytes, path);
  const { [KEY]: content, digest } = metadata;
  check(content !== undefined, 'FILE_CORRUPT', `${path}: expected a checkpoint, got another safetensors file`);
  const all = Object.fromEntries(tensors);
  check(
    digest === digestOf(content, all),
    'FILE_CORRUPT',
    `${path}: the content isn't what was saved: its digest differs`,
  );
  const { step, data } = parseContent(content, path);
  const states = new Map<string, StateValues>(parts.map((part) => [part, new Map()]));
  for (const [name, { shape, data: values }] of tensors) {
    const slash = name.indexOf('/');
    const state = states.get(name.slice(0, slash));
    check(
      state !== undefined,
      'STATE_MISMATCH',
      `${path}: expected the state of ${parts.join(', ')}, got ${shortened(name)}`,
    );
    state.set(name.slice(slash + 1), { shape, data: values as TensorData });
  }
  return { step, data, states };
}

/** Before the first part is loaded: a part that refuses its values mustn't leave half a checkpoint behind. */
function checkValues(path: string, own: Stateful, state: StateValues): void {
  try {
    own.checkStateDict?.(state);
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError('FILE_CORRUPT', `${path}: ${error.message}`, { cause: error });
  }
}

/** Anybody can compute a digest: it tells damage, not intent. */
function parseContent(content: string, path: string): { step: number; data: unknown } {
  let about: { version?: unknown; step?: unknown; data?: unknown } | null;
  try {
    about = JSON.parse(content);
  } catch (error) {
    const message = `${path}: metadata ${KEY}: expected JSON: ${(error as Error).message}`;
    throw new KalmanNormError('FILE_CORRUPT', message, { cause: error });
  }
  const { version, step, data } = about ?? {};
  check(
    Number.isSafeInteger(version) && Number.isSafeInteger(step) && (step as number) >= 0,
    'FILE_CORRUPT',
    () => `${path}: metadata ${KEY}: expected a version and a step, got ${shownJson(version)} and ${shownJson(step)}`,
  );
  check(
    (version as number) <= VERSION,
    'UNKNOWN_VERSION',
    `${path}: expected version ${VERSION}, got ${version} of a later release`,
  );
  return { step: step as number, data };
}

function tensorOf(shape: readonly number[], data: TensorData): SafetensorsTensor {
  const dtype = data instanceof Float32Array ? 'F32' : data instanceof Int32Array ? 'I32' : 'U8';
  return { dtype, shape, data } as SafetensorsTensor;
}

/** Of the metadata, and of names, types, shapes and values. @internal */
export function digestOf(content: string, tensors: Readonly<Record<string, SafetensorsTensor>>): string {
  const hash = createHash('sha256').update(content);
  for (const name of Object.keys(tensors).sort()) {
    const { dtype, shape, data } = tensors[name] as SafetensorsTensor;
    hash.update(`\n${JSON.stringify([name, dtype, shape])}\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
