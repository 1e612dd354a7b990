import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KalmanNormError } from '../../lib/errors.js';
import type { Precision } from '../../lib/index.js';

/** What both benchmark programs are told. */
interface CommonArguments {
  /** File for the results; null for none. */
  json: string | null;
  /** Threads of the CPU; 0 for one a core. */
  threads: number;
  /** `cpu` or `cuda:N`. */
  device: string;
  /** How a CUDA device stores activations and multiplies them. */
  precision: Precision;
  /** Let a CUDA device time the algorithms of a convolution and keep the fastest. */
  benchmark: boolean;
  /** Tiny sizes and few iterations: shows only that everything runs. */
  smoke: boolean;
}

/** Command line of `npm run bench`. */
export interface BenchArguments extends CommonArguments {
  /** See {@link matches}. */
  filters: readonly string[];
  /** Print the names of the cases instead of running them. */
  list: boolean;
  /** Milliseconds of measurement a case. */
  time: number;
}

/** Parts of `npm run bench:peers`, in the order in which they run. */
export const peerParts = ['n=5', 'n=1', 'growth', 'resnet50', 'memory', 'tfjs'] as const;
export type PeerPart = (typeof peerParts)[number];

/** Command line of `npm run bench:peers`. */
export interface PeerArguments extends CommonArguments {
  parts: readonly PeerPart[];
  /** How often every candidate has its turn. */
  rounds: number;
  /** Milliseconds of a turn. */
  time: number;
  /** Interpreter with PyTorch. */
  python: string;
  /** Folder whose `node_modules` has TensorFlow.js. */
  tfjs: string;
}

const precisions: readonly Precision[] = ['fp32', 'tf32', 'fp16', 'bf16'];

const common = {
  json: { type: 'string', help: 'write the results to this file' },
  threads: { type: 'string', help: 'of the CPU; default: one a core' },
  device: { type: 'string', help: 'cpu (default) or cuda:N' },
  precision: { type: 'string', help: 'of a CUDA device: fp32 (default), tf32, fp16 or bf16' },
  benchmark: { type: 'boolean', help: "a CUDA device times a convolution's algorithms and keeps the fastest" },
  time: { type: 'string', help: 'milliseconds of measurement: of a case (1000), or of a turn against a peer (1500)' },
  smoke: { type: 'boolean', help: 'tiny sizes, few iterations: shows that everything runs' },
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const;

const benchFlags = {
  filter: { type: 'string', multiple: true, help: 'as the words behind the flags' },
  list: { type: 'boolean', help: 'print the names of the cases' },
  ...common,
} as const;

const peerFlags = {
  rounds: { type: 'string', help: 'turns of every candidate; default 11' },
  python: { type: 'string', help: 'interpreter with PyTorch; default KN_PEER_PYTHON or the cache' },
  tfjs: { type: 'string', help: 'folder with TensorFlow.js; default KN_PEER_TFJS or the cache' },
  ...common,
} as const;

/** The text of `npm run bench -- --help`. */
export const benchUsage = `npm run bench -- [words] [flags]
Runs the cases whose names have all the words; a word may have alternatives: "step n=1,n=5 replayed".
${flagsHelp(benchFlags)}`;

/** The text of `npm run bench:peers -- --help`. */
export const peerUsage = `npm run bench:peers -- [parts] [flags]
Runs our training steps and those of other libraries in turns. Parts: ${peerParts.join(', ')}; default: all.
${flagsHelp(peerFlags)}`;

/**
 * Reads the command line of `npm run bench`.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and bad values
 */
export function parseBenchArguments(args: readonly string[]): BenchArguments | null {
  const { values, positionals } = refusing(() =>
    parseArgs({ args: [...args], options: benchFlags, allowPositionals: true }),
  );
  if (values.help) return null;
  const smoke = values.smoke === true;
  return {
    filters: [...positionals, ...(values.filter ?? [])].flatMap((words) => words.split(/\s+/)).filter(Boolean),
    list: values.list === true,
    time: wholeNumber('time', values.time, smoke ? 1 : 1000, 1),
    ...commonOf(values),
  };
}

/**
 * Reads the command line of `npm run bench:peers`.
 *
 * @param environment for defaults: KN_PEER_PYTHON, KN_PEER_TFJS
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and parts, and bad values
 */
export function parsePeerArguments(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
): PeerArguments | null {
  const { values, positionals } = refusing(() =>
    parseArgs({ args: [...args], options: peerFlags, allowPositionals: true }),
  );
  if (values.help) return null;
  const smoke = values.smoke === true;
  const parts = positionals.map((name) => {
    const part = peerParts.find((known) => known === name);
    if (!part) throw refusal(`expected a part of ${peerParts.join(', ')}, got "${name}"`);
    return part;
  });
  const cache = join(homedir(), '.cache', 'kalman-norm');
  const onCpu = (values.device ?? 'cpu') === 'cpu';
  return {
    parts: parts.length > 0 ? parts : defaultParts(onCpu, smoke),
    rounds: wholeNumber('rounds', values.rounds, smoke ? 2 : 11, 1),
    time: wholeNumber('time', values.time, smoke ? 1 : 1500, 1),
    python: values.python ?? environment.KN_PEER_PYTHON ?? join(cache, 'peers', 'bin', 'python'),
    tfjs: values.tfjs ?? environment.KN_PEER_TFJS ?? join(cache, 'tfjs'),
    ...commonOf(values),
  };
}

/** What is compared where no part is named: off the CPU, a process's memory and a WebAssembly peer say nothing. */
function defaultParts(onCpu: boolean, smoke: boolean): readonly PeerPart[] {
  // A turn of n = 18 or of 50 layers takes too long for a smoke test.
  return peerParts.filter((part) => (part === 'memory' || part === 'tfjs' ? onCpu : !smoke || part === 'n=1'));
}

/**
 * Whether a case is asked for: its name must have every word, or one of the word's alternatives, which commas separate.
 * A word with "=" must be a whole word of the name, so that n=1 isn't n=18.
 */
export function matches(name: string, filters: readonly string[]): boolean {
  const whole = name.split(' ');
  return filters.every((filter) =>
    filter
      .split(',')
      .filter(Boolean)
      .some((word) => (word.includes('=') ? whole.includes(word) : name.includes(word))),
  );
}

function commonOf(values: {
  json?: string | undefined;
  threads?: string | undefined;
  device?: string | undefined;
  precision?: string | undefined;
  benchmark?: boolean | undefined;
  smoke?: boolean | undefined;
}): CommonArguments {
  return {
    json: values.json ?? null,
    threads: wholeNumber('threads', values.threads, 0, 0),
    device: values.device ?? 'cpu',
    precision: precisionOf(values.precision),
    benchmark: values.benchmark === true,
    smoke: values.smoke === true,
  };
}

function precisionOf(text: string | undefined): Precision {
  const precision = precisions.find((known) => known === (text ?? 'fp32'));
  if (!precision) throw refusal(`--precision: expected one of ${precisions.join(', ')}, got "${text}"`);
  return precision;
}

/** A flag's whole number of at least `least`. @throws KalmanNormError `INVALID_ARGUMENT` for another text */
export function wholeNumber(flag: string, text: string | undefined, fallback: number, least: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least) {
    throw refusal(`--${flag}: expected a whole number of at least ${least}, got "${text}"`);
  }
  return value;
}

/** What a parser returns; its errors as refusals. */
export function refusing<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw refusal((error as Error).message);
  }
}

/** An error for the command line. */
export function refusal(message: string): KalmanNormError {
  return new KalmanNormError('INVALID_ARGUMENT', message);
}

/** The lines of a help text, one a flag. */
export function flagsHelp(flags: Readonly<Record<string, { type: string; help: string }>>): string {
  return Object.entries(flags)
    .map(([name, flag]) => `  ${`--${name}${flag.type === 'string' ? ' VALUE' : ''}`.padEnd(18)}${flag.help}`)
    .join('\n');
}
