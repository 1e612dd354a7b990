/** What every tool needs: the package's folder, words for people, other programs. Works without any npm package. */

import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
// Names that old versions of Node lack (in os, in util) come from the module's default export, and not by import: a
// missing one must not keep the set-up from saying that Node is too old.
import os from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's folder, or the checkout. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Something a person has to put right: the message is meant for them, and no stack trace is shown. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.name = 'SetupError';
    this.exitCode = exitCode;
  }
}

/** Whether a program of this name is on PATH. */
export function hasCommand(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, name)));
}

/** Shows and runs one command, which has to succeed unless `optional`. */
export async function runStep(command, { env = {}, optional = false } = {}) {
  const line = command.join(' ');
  say(`$ ${line}`);
  const code = await run(command[0], command.slice(1), { env, quiet: true });
  if (code === 0) return;
  if (code > 128) throw new SetupError(`Interrupted during: ${line}`, code);
  if (!optional) throw new SetupError(`${line} failed (exit status ${code}); its messages are above.`);
}

/** One line for people, kept out of stdout. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a program in the package's folder to its end and gives its exit status, 128 + the signal's number where one
 * ended it.
 *
 * Signals end the child, not this process, so that the child can put its files in order first. In a terminal Ctrl-C
 * reaches the child without our help, and a second one might make it stop at once; so it is passed on only elsewhere.
 *
 * @param options.env variables to add
 * @param options.quiet no stdin, and stdout goes to stderr
 */
export function run(command, args, { env = {}, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: quiet ? ['ignore', process.stderr, process.stderr] : 'inherit',
    });
    const onSignal = (signal) => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    };
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, onSignal);
    const done = () => {
      for (const signal of signals) process.off(signal, onSignal);
    };
    child.on('error', (error) => {
      done();
      reject(new SetupError(`${command} could not be started: ${error.message}`));
    });
    child.on('exit', (code, signal) => {
      done();
      resolve(code ?? 128 + os.constants.signals[signal]);
    });
  });
}

/** Works on several items at a time, as many as there are processors. */
export async function inParallel(items, work) {
  const queue = [...items];
  const worker = async () => {
    while (queue.length > 0) await work(queue.shift());
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
}

/** Runs a script's main function: its result is the exit status, and a SetupError is said without a stack trace. */
export async function runScript(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = error.exitCode;
  }
}

/** Whether the module with this URL is what `node` was started with. */
export function isMain(url) {
  const started = process.argv[1];
  return started !== undefined && existsSync(started) && realpathSync(started) === fileURLToPath(url);
}
