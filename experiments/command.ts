import { pathToFileURL } from 'node:url';
import type { ParseArgsConfig, parseArgs } from 'node:util';
import { KalmanNormError } from '../lib/errors.js';
import { inFlags, parseFlags } from './flags.js';

type Flags = NonNullable<ParseArgsConfig['options']>;

/** A command beside the experiments: what its help says, and its flags without `--help`. */
export interface Command<F extends Flags> {
  readonly usage: string;
  readonly flags: F;
}

type Given<F extends Flags> = ReturnType<typeof parseArgs<{ allowPositionals: true; options: F }>>;

/**
 * Runs a command: shows its help, and what its user has to know of a failure, without a stack.
 *
 * @param body gets words and flags, and returns the exit code
 * @returns the exit code; 1 for a {@link KalmanNormError}
 */
export async function runCommand<const F extends Flags>(
  { usage, flags }: Command<F>,
  args: readonly string[],
  print: (line: string) => void,
  body: (given: Given<F>) => Promise<number>,
): Promise<number> {
  try {
    const given = parseFlags(args, { ...flags, help: { type: 'boolean', short: 'h' } }, true);
    if ((given.values as { help?: boolean }).help === true) {
      print(usage);
      return 0;
    }
    return await body(given as unknown as Given<F>);
  } catch (error) {
    const message = messageOf(error);
    if (message === null) throw error;
    console.error(error instanceof KalmanNormError ? `${message}\n\n${usage}` : message);
    return 1;
  }
}

/**
 * What the user of a program has to know of a failure, such as a full disk; null for a mistake of the program itself, of
 * which the stack says more.
 */
export function messageOf(error: unknown): string | null {
  if (error instanceof KalmanNormError) return inFlags(error.message);
  // What the operating system refuses. The message has its code, and mostly the path.
  return error instanceof Error && 'syscall' in error ? error.message : null;
}

/** Runs a command if its script is the program that Node was started with. */
export async function runAsProgram(script: string, main: (args: readonly string[]) => Promise<number>): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== script) return;
  process.exitCode = await main(process.argv.slice(2));
}
