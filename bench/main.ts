/** `npm run bench`: measures kalman-norm on this machine. */

import { KalmanNormError, openDevice } from '../lib/index.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { batchNormSuite } from './batch-norm.bench.js';
import { groupNormSuite } from './group-norm.bench.js';
import { inferenceSuite } from './inference.bench.js';
import { kalmanSuite } from './kalman.bench.js';
import { overheadSuite } from './overhead.bench.js';
import { predictSuite } from './predict.bench.js';
import { stepSuite } from './step.bench.js';
import { type BenchArguments, benchUsage, matches, parseBenchArguments } from './support/arguments.js';
import { type Case, Context } from './support/case.js';
import { describeMachine, inspectMachine, isBusy } from './support/machine.js';
import type { BenchResults } from './support/results.js';
import { renderRows } from './support/table.js';

const suites = [kalmanSuite, predictSuite, batchNormSuite, groupNormSuite, stepSuite, inferenceSuite, overheadSuite];

async function main(): Promise<void> {
  const options = parseBenchArguments(process.argv.slice(2));
  if (!options) return console.log(benchUsage);
  const cases = suites.flatMap((suite) => suite(options)).filter(({ name }) => matches(name, options.filters));
  if (cases.length === 0) {
    throw new KalmanNormError('INVALID_ARGUMENT', 'no case has these words; --list shows all names');
  }
  if (options.list) return console.log(cases.map(({ name }) => name).join('\n'));
  await runCases(cases, options);
}

async function runCases(cases: readonly Case[], options: BenchArguments): Promise<void> {
  const { threads, precision, benchmark } = options;
  const open = () => openDevice(options.device, { threads, precision, benchmark });
  let device = open();
  const machine = inspectMachine(device, options);
  console.log(describeMachine(machine));
  if (options.smoke) console.log('Smoke test: the figures mean nothing.');
  let context = new Context(device, options);
  const results: BenchResults = { machine, options, rows: [], failures: [] };
  const { rows, failures } = results;
  for (const [index, { name, run }] of cases.entries()) {
    progress(`${index + 1}/${cases.length} ${name}`);
    try {
      rows.push(...(await run(context)));
      // What a case leaves in the pool is no memory of the next one's.
      device.trimMemory();
    } catch (error) {
      // The other figures are worth having. A mistake of the program's own is shown with its place.
      const reason = error instanceof KalmanNormError ? error.message : String((error as Error).stack ?? error);
      failures.push({ name, reason });
      // Whatever it has left behind is no matter of the next one's.
      await device.dispose();
      device = open();
      context = new Context(device, options);
    }
    if (options.json) await writeFileAtomic(options.json, JSON.stringify(results, null, 2));
  }
  await device.dispose();
  progress('');
  console.log(renderRows(rows));
  for (const { name, reason } of failures) console.error(`FAILED ${name}: ${reason}`);
  if (failures.length > 0) process.exitCode = 1;
  if (isBusy(machine)) console.log('The machine was busy when this began: measure again on an idle one.');
}

/** Shows what is being measured; not in files. */
function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[K${text}`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof KalmanNormError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
