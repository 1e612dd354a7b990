import { Worker } from 'node:worker_threads';

/** Runs in a thread of its own, which a loop without end doesn't stop. */
const program = `
const { writeSync } = require('node:fs');
const { workerData: { progress, names, seed, time } } = require('node:worker_threads');
let last = '';
setInterval(() => {
  const now = names[progress[0]] + ', seed ' + seed + ', case ' + progress[1];
  if (now === last) {
    writeSync(2, now + ': not done within ' + time + ' ms\\n');
    process.kill(process.pid, 'SIGKILL');
  }
  last = now;
}, time);
`;

/**
 * Ends the process, naming the case, where one case takes too long.
 *
 * @param names of the targets
 * @param time that a case may take, in milliseconds; twice as long, where it began in between
 * @returns a function that is told of every case before it is read
 */
export function startWatchdog(names: readonly string[], seed: number, time = 10_000) {
  const progress = new Int32Array(new SharedArrayBuffer(8));
  new Worker(program, { eval: true, workerData: { progress, names, seed, time } }).unref();
  return (name: string, number: number): void => {
    progress[0] = names.indexOf(name);
    progress[1] = number;
  };
}
