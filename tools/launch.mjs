/**
 * `npx kalman-norm launch --processes N script.ts …`: starts N processes of a program, which join by `openProcessGroup()`.
 * Where one fails, the others are ended, and its rank and last words are told.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { runScript, SetupError, say } from './process.mjs';

const USAGE = `Usage: npx kalman-norm launch --processes N [--restarts N] [--grace SECONDS] script [arguments]

  --processes  how many to start; each has KALMAN_NORM_RANK and KALMAN_NORM_PROCESSES in its environment
  --restarts   how often all are started anew after one failed, with KALMAN_NORM_RESTART 1, 2 …: the program then goes
               on from its last checkpoint; default 0
  --grace      seconds that processes have to end by themselves after one failed, or the launcher was told to end;
               default 5`;

/** Lines of a failed process that are repeated. */
const LAST_WORDS = 10;

/** What the command line asks for. Flags behind the script are the script's. */
export function parseLaunch(args) {
  const options = { processes: { type: 'string' }, restarts: { type: 'string' }, grace: { type: 'string' } };
  // All of the launcher's flags take a value, so that the first word without one is the script.
  let first = 0;
  while (args[first]?.startsWith('--')) first += args[first].includes('=') ? 1 : 2;
  let values;
  try {
    ({ values } = parseArgs({ args: args.slice(0, first), options }));
  } catch (error) {
    throw new SetupError(`${error.message}\n${USAGE}`, 2);
  }
  const whole = (name, fallback, least, most) => {
    const text = values[name] ?? fallback;
    if (!/^\d+$/.test(text ?? '') || Number(text) < least || Number(text) > most) {
      throw new SetupError(
        `--${name}: expected a whole number from ${least} to ${most}, got ${text ?? 'none'}\n${USAGE}`,
        2,
      );
    }
    return Number(text);
  };
  const [script, ...scriptArguments] = args.slice(first);
  const launch = { processes: whole('processes', undefined, 1, 1024), restarts: whole('restarts', '0', 0, 1_000_000) };
  // A timer's longest time is 24 days; beyond, it is over at once.
  const grace = whole('grace', '5', 0, 1_000_000);
  if (!script) throw new SetupError(`launch: which script?\n${USAGE}`, 2);
  return { ...launch, grace, script, scriptArguments };
}

/**
 * One process of the program, its lines marked with its rank.
 *
 * @returns `child`, and `ended`: resolves to `{ rank, code, signal, words }`
 */
function startProcess({ script, scriptArguments, processes }, rank, environment) {
  const loader = /\.[cm]?ts$/.test(script) ? ['--import', 'tsx'] : [];
  const child = spawn(process.execPath, [...process.execArgv, ...loader, script, ...scriptArguments], {
    env: { ...process.env, ...environment, KALMAN_NORM_RANK: String(rank), KALMAN_NORM_PROCESSES: String(processes) },
    // By the channel a process notices that the launcher is gone.
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const words = [];
  for (const name of ['stdout', 'stderr']) {
    createInterface({ input: child[name] }).on('line', (line) => {
      process[name].write(`[${rank}] ${line}\n`);
      words.push(line);
      if (words.length > LAST_WORDS) words.shift();
    });
  }
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve({ rank, code: 1, signal: null, words: [error.message] }));
    child.on('close', (code, signal) => resolve({ rank, code, signal, words }));
  });
  return { child, ended };
}

/** Runs all processes to their end; `failed` is the first that failed, or null. */
async function runProcesses(launch, restart) {
  const folder = mkdtempSync(join(os.tmpdir(), 'kalman-norm-'));
  const environment = {
    KALMAN_NORM_RENDEZVOUS: folder,
    KALMAN_NORM_RESTART: String(restart),
    KALMAN_NORM_LAUNCH: launch.id,
  };
  const workers = Array.from({ length: launch.processes }, (_, rank) => startProcess(launch, rank, environment));
  const endAll = (signal) => {
    for (const { child } of workers) if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  };
  let stopped = null;
  let failed = null;
  let timer;
  const killLater = () => {
    timer ??= setTimeout(() => endAll('SIGKILL'), launch.grace * 1000);
  };
  const onSignal = (signal) => {
    stopped = signal;
    endAll(signal);
    killLater();
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, onSignal);
  const look = (end) => {
    if (failed || stopped || (end.code === 0 && end.signal === null)) return;
    failed = end;
    killLater();
  };
  try {
    await Promise.all(workers.map(({ ended }) => ended.then(look)));
    return { failed, stopped };
  } finally {
    clearTimeout(timer);
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, onSignal);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Starts, and starts anew; the exit status. */
export async function launch(args) {
  const options = { ...parseLaunch(args), id: randomUUID() };
  for (let restart = 0; ; restart++) {
    const { failed, stopped } = await runProcesses(options, restart);
    if (stopped) return 128 + os.constants.signals[stopped];
    if (!failed) return 0;
    const { rank, code, signal, words } = failed;
    say(
      `launch: rank ${rank} ${signal ? `was ended by ${signal}` : `failed with exit status ${code}`}; its last words:`,
    );
    for (const line of words.length > 0 ? words : ['(none)']) say(`  ${line}`);
    if (restart === options.restarts) return code || 1;
    say(`launch: starting all anew, ${restart + 1} of ${options.restarts}`);
  }
}

/** The command `launch` of `kalman-norm`. */
export const main = (args) => runScript(() => launch(args));
