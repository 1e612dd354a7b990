import { type ParseArgsConfig, parseArgs } from 'node:util';
import { check, KalmanNormError } from '../lib/errors.js';
import { nearest } from '../lib/options.js';

/** Of a flag: whether it takes a value, what it does, and what its absence means, for a program that may say so. */
export interface Flag<Program> {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly help: string;
  readonly absent?: string | number | ((program: Program) => string | number | null);
}

/**
 * What is wrong with a command line, for its user. An unknown flag comes with the nearest one that there is.
 *
 * @param error from `parseArgs`
 * @param names the flags, without dashes
 */
function parseError(error: unknown, names: readonly string[]): KalmanNormError {
  const { message, code } = error as NodeJS.ErrnoException;
  const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'-{1,2}([^']*)'/.exec(message)?.[1] : undefined;
  if (unknown === undefined) return new KalmanNormError('INVALID_ARGUMENT', message, { cause: error });
  const near = nearest(unknown, names);
  const hint = near === null ? '--help lists the flags' : `did you mean ${dashed(near)}?`;
  const refusal = `Unknown option '${dashed(unknown)}'; ${hint}`;
  return new KalmanNormError('INVALID_ARGUMENT', refusal, { cause: error });
}

/** Reads a command line. @throws KalmanNormError `INVALID_ARGUMENT`, in words for its user */
export function parseFlags<const F extends NonNullable<ParseArgsConfig['options']>, const P extends boolean>(
  args: readonly string[],
  options: F,
  allowPositionals: P,
) {
  try {
    const given = parseArgs({ args: [...args], options, allowPositionals });
    // As from a variable of the shell that isn't set: nothing would read it as if the flag had not been given.
    const empty = Object.entries(given.values).find(([, value]) => value === '');
    check(!empty, 'INVALID_ARGUMENT', () => `${dashed(empty?.[0] ?? '')}: expected a value, got an empty one`);
    return given;
  } catch (error) {
    throw error instanceof KalmanNormError ? error : parseError(error, Object.keys(options));
  }
}

/** Flags and their values as the words of a command line; those that are false are left out. */
export function toWords(flags: Readonly<Record<string, string | number | boolean>>): string[] {
  return Object.entries(flags)
    .filter(([, value]) => value !== false)
    .map(([flag, value]) => (value === true ? `--${flag}` : `--${flag}=${value}`));
}

/** A flag as it is typed. */
export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/** A number that `fits`, of a flag's text; the fallback where there is none. `expected` completes "expected ...". */
export function number(
  flag: string,
  text: string | undefined,
  fallback: number,
  fits: (value: number) => boolean,
  expected: string,
): number {
  if (text === undefined) return fallback;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!fits(value)) throw new KalmanNormError('INVALID_ARGUMENT', `--${flag}: expected ${expected}, got "${text}"`);
  return value;
}

/** One of the texts allowed; the fallback where there is none. */
export function choice<T extends string>(
  flag: string,
  text: string | undefined,
  fallback: T,
  allowed: readonly T[],
): T {
  if (text === undefined) return fallback;
  if (!allowed.includes(text as T)) {
    throw new KalmanNormError('INVALID_ARGUMENT', `--${flag}: expected one of ${allowed.join(', ')}, got "${text}"`);
  }
  return text as T;
}

/** What the library's messages call options, and the flags that set them. */
const flagOf: Readonly<Record<string, string>> = {
  'Trainer: batchSize': '--batch-size',
  'CifarResNet: n': '-n',
  'openDevice: threads': '--threads',
  'openDevice: precision': '--precision',
  'limit.train': '--limit-train',
  'limit.test': '--limit-test',
  'download: true': '--download',
  dataDir: '--data-dir',
  batchSize: '--batch-size',
};

/** A message of the library in the words of the command line. Paths that contain an option's name stay as they are. */
export function inFlags(message: string): string {
  const names = Object.keys(flagOf).map((name) => name.replaceAll('.', '\\.'));
  return message.replaceAll(
    new RegExp(`(?<![\\w/.-])(${names.join('|')})(?![\\w/-]|\\.\\w)`, 'g'),
    (name) => flagOf[name] as string,
  );
}
