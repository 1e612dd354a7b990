/**
 * Golden files: `NAME.json` tells what was recorded and how, `NAME.safetensors` holds the values.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { check } from '../../lib/errors.js';
import { KalmanNormError, readSafetensors } from '../../lib/index.js';
import type { Values } from './layout.js';

/** An object of a golden file's JSON, whose entries are checked as they're read. */
export class Fields {
  /**
   * @param where what to call the object in messages
   */
  constructor(
    readonly where: string,
    private readonly entries: Readonly<Record<string, unknown>>,
  ) {}

  /** @throws KalmanNormError `FILE_CORRUPT` where `value` isn't an object */
  static of(where: string, value: unknown): Fields {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    check(isObject, 'FILE_CORRUPT', () => `${where}: expected an object, got ${JSON.stringify(value)}`);
    return new Fields(where, value as Record<string, unknown>);
  }

  keys(): string[] {
    return Object.keys(this.entries);
  }

  /** Whether there is an entry other than null. */
  has(key: string): boolean {
    return (this.entries[key] ?? null) !== null;
  }

  value(key: string): unknown {
    return this.entries[key];
  }

  number(key: string): number {
    return this.typed<number>(key, 'number');
  }

  text(key: string): string {
    return this.typed<string>(key, 'string');
  }

  flag(key: string): boolean {
    return this.typed<boolean>(key, 'boolean');
  }

  object(key: string): Fields {
    return Fields.of(`${this.where}: ${key}`, this.entries[key]);
  }

  list(key: string): unknown[] {
    const value = this.entries[key];
    check(
      Array.isArray(value),
      'FILE_CORRUPT',
      () => `${this.where}: ${key}: expected a list, got ${JSON.stringify(value)}`,
    );
    return value as unknown[];
  }

  /** @throws KalmanNormError `FILE_CORRUPT` unless the entry is `expected`: the one value that is supported */
  require(key: string, expected: number | string | boolean): void {
    const value = this.entries[key];
    check(
      value === expected,
      'FILE_CORRUPT',
      () => `${this.where}: ${key}: only ${JSON.stringify(expected)} is supported, got ${JSON.stringify(value)}`,
    );
  }

  private typed<T>(key: string, type: string): T {
    const value = this.entries[key];
    check(
      typeof value === type,
      'FILE_CORRUPT',
      () => `${this.where}: ${key}: expected a ${type}, got ${JSON.stringify(value)}`,
    );
    return value as T;
  }
}

/** Recorded tensors by name. Remembers which of them were read, so that none is left out in silence. */
export class Recording {
  private readonly used = new Set<string>();

  constructor(
    readonly where: string,
    private readonly tensors: ReadonlyMap<string, Values>,
  ) {}

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  names(prefix = ''): string[] {
    return [...this.tensors.keys()].filter((name) => name.startsWith(prefix));
  }

  /** @throws KalmanNormError `FILE_CORRUPT` where there is no such tensor */
  take(name: string): Values {
    const values = this.tensors.get(name);
    check(values !== undefined, 'FILE_CORRUPT', () => `${this.where}: there is no tensor ${name}`);
    this.used.add(name);
    return values;
  }

  /** Some tensors, which don't count as read by that. */
  peek(wanted: (name: string) => boolean): Values[] {
    return this.names()
      .filter(wanted)
      .map((name) => this.tensors.get(name) as Values);
  }

  unused(): string[] {
    return this.names().filter((name) => !this.used.has(name));
  }

  /** The tensors whose names start with `NAME/`, without that. */
  part(name: string): Recording {
    const prefix = `${name}/`;
    const entries = [...this.tensors].filter(([key]) => key.startsWith(prefix));
    return new Recording(
      `${this.where}/${name}`,
      new Map(entries.map(([key, values]) => [key.slice(prefix.length), values])),
    );
  }

  /** How the tensors differ from a list of names and shapes. */
  differences(declared: Fields): string[] {
    const text = (value: unknown) => JSON.stringify(value);
    const undeclared = this.names().filter((name) => !declared.keys().includes(name));
    return [
      ...undeclared.map((name) => `tensor ${name} is stored, but not listed in the JSON file`),
      ...declared.keys().flatMap((name) => {
        const stored = this.tensors.get(name);
        if (!stored) return [`tensor ${name} is listed in the JSON file, but not stored`];
        const shape = declared.value(name);
        if (text(shape) === text(stored.shape)) return [];
        return [`tensor ${name}: the JSON file lists shape ${text(shape)}, stored is ${text(stored.shape)}`];
      }),
    ];
  }
}

/** A pair of files. */
export interface GoldenFile {
  /** Without the extension. */
  readonly name: string;
  readonly json: Fields;
  readonly recording: Recording;
}

/** What a folder holds. */
export interface GoldenFolder {
  readonly files: readonly GoldenFile[];
  /** Files that couldn't be read, with the reason. */
  readonly faults: readonly { readonly name: string; readonly reason: string }[];
}

/**
 * Reads all pairs of a folder, in the order of their names. Files with other extensions are not golden files.
 *
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such folder, or neither JSON nor safetensors files in it
 */
export async function readFolder(dir: string): Promise<GoldenFolder> {
  let entries: string[];
  try {
    entries = await readdir(dir);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code;
    throw new KalmanNormError('FILE_NOT_FOUND', `DIR: expected a folder of golden files, got ${dir} (${reason})`, {
      cause: error,
    });
  }
  const names = new Set(entries.map((entry) => /^(.*)\.(?:json|safetensors)$/.exec(entry)?.[1]));
  names.delete(undefined);
  check(
    names.size > 0,
    'FILE_NOT_FOUND',
    `DIR: expected pairs of .json and .safetensors files, but ${dir} has none of either`,
  );
  const files: GoldenFile[] = [];
  const faults: { name: string; reason: string }[] = [];
  for (const name of [...(names as Set<string>)].sort()) {
    const missing = ['json', 'safetensors']
      .map((ending) => `${name}.${ending}`)
      .find((file) => !entries.includes(file));
    try {
      check(missing === undefined, 'FILE_NOT_FOUND', `${missing} is missing: golden files come in pairs`);
      files.push(await readPair(dir, name));
    } catch (error) {
      faults.push({ name, reason: (error as Error).message });
    }
  }
  return { files, faults };
}

async function readPair(dir: string, name: string): Promise<GoldenFile> {
  const text = await readFile(join(dir, `${name}.json`), 'utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new KalmanNormError('FILE_CORRUPT', `${name}.json isn't JSON: ${(error as Error).message}`, { cause: error });
  }
  const { tensors } = await readSafetensors(join(dir, `${name}.safetensors`));
  const values = new Map<string, Values>();
  for (const [key, { dtype, shape, data }] of tensors) {
    check(dtype === 'F32', 'FILE_CORRUPT', `${name}.safetensors: tensor ${key}: expected dtype F32, got ${dtype}`);
    values.set(key, { shape, data: data as Float32Array });
  }
  return { name, json: Fields.of(`${name}.json`, json), recording: new Recording(name, values) };
}
