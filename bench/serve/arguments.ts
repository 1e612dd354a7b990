import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { flagsHelp, refusal, refusing, wholeNumber } from '../support/arguments.js';

/** Command line of `npm run bench:serve`. */
export interface ServeArguments {
  /** Seconds of a turn. */
  readonly seconds: number;
  /** Turns of each server in each part. */
  readonly rounds: number;
  /** Minutes of load on our service alone, instead of the comparison; 0 for none. */
  readonly minutes: number;
  /** Compare folded networks with others, workers with the main thread, and both libraries, without HTTP. */
  readonly library: boolean;
  /** Blocks a stage of the network that is served. */
  readonly n: number;
  /** Threads of either library; 0 for one a core. */
  readonly threads: number;
  /** Connections that send one request after the other, where samples may be gathered. */
  readonly connections: number;
  /** Folder whose `node_modules` has onnxruntime-node. */
  readonly peer: string;
  readonly json: string | null;
  /** Very short: shows only that everything runs. */
  readonly smoke: boolean;
}

const flags = {
  seconds: { type: 'string', help: 'of a turn; default 5' },
  rounds: { type: 'string', help: 'turns of every server; default 9' },
  minutes: { type: 'string', help: 'load on our service alone for so long; prints how its memory grows' },
  library: { type: 'boolean', help: 'without HTTP: folded or not, in a worker or not, and beside onnxruntime-node' },
  n: { type: 'string', help: 'blocks a stage of the residual network; default 3, ResNet-20' },
  threads: { type: 'string', help: 'of either library; default: one a core' },
  connections: { type: 'string', help: 'where samples may run together; default 64' },
  peer: { type: 'string', help: 'folder with onnxruntime-node; default KN_PEER_ORT or the cache' },
  json: { type: 'string', help: 'write the results to this file' },
  smoke: { type: 'boolean', help: 'very short: shows that everything runs' },
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const;

/** The text of `npm run bench:serve -- --help`. */
export const serveUsage = `npm run bench:serve -- [flags]
Loads examples/service with requests, served by this library and by onnxruntime-node in turns.
${flagsHelp(flags)}`;

/**
 * Reads the command line of `npm run bench:serve`.
 *
 * @param environment for the default of KN_PEER_ORT
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and bad values
 */
export function parseServeArguments(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
): ServeArguments | null {
  const { values } = refusing(() => parseArgs({ args: [...args], options: flags }));
  if (values.help) return null;
  const smoke = values.smoke === true;
  const minutes = Number(values.minutes ?? 0);
  if (!(minutes >= 0)) throw refusal(`--minutes: expected a number of at least 0, got "${values.minutes}"`);
  return {
    seconds: wholeNumber('seconds', values.seconds, smoke ? 1 : 5, 1),
    rounds: wholeNumber('rounds', values.rounds, smoke ? 1 : 9, 1),
    minutes,
    library: values.library === true,
    n: wholeNumber('n', values.n, smoke ? 1 : 3, 1),
    threads: wholeNumber('threads', values.threads, 0, 0),
    connections: wholeNumber('connections', values.connections, smoke ? 4 : 64, 1),
    peer: values.peer ?? environment.KN_PEER_ORT ?? join(homedir(), '.cache', 'kalman-norm', 'onnxruntime'),
    json: values.json ?? null,
    smoke,
  };
}
