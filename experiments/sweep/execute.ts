import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { check, KalmanNormError } from '../../lib/errors.js';
import { makeFolder } from '../../lib/io/make-folder.js';
import { wasInterrupted } from '../interruption.js';
import type { Configuration } from '../options.js';
import { readRuns } from '../report/log.js';
import { differencesOf, storedConfiguration } from '../resume.js';
import { isInUse, lockFolder, sweepVariable, unlockFolder } from '../run-folder.js';
import type { Plan, PlannedRun } from './plan.js';

/** How far a run is: not begun, stopped on its way, or at its end. */
export type Stage = 'new' | 'begun' | 'finished' | 'diverged';

/** What became of a run; `interrupted` where the sweep was asked to stop, `failed` where its program ended with an error. */
export type Outcome = 'finished' | 'diverged' | 'interrupted' | 'failed';

/** Told of what happens to a run; `detail` is the last line that a failed one printed. */
export type OnChange = (run: PlannedRun, event: 'started' | 'resumed' | 'waiting' | Outcome, detail?: string) => void;

/**
 * How far a run is, by its log.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` where what lies in its folder is a run of another configuration
 */
export async function stageOf(run: PlannedRun): Promise<Stage> {
  let stored: Configuration;
  try {
    stored = await storedConfiguration(run.dir);
  } catch (error) {
    if (isMissing(error)) return 'new';
    throw error;
  }
  const differences =
    stored.name === run.experiment.name
      ? differencesOf(run.experiment, stored.flags, run.configuration.flags)
      : [`it is a run of ${stored.name}, got ${run.experiment.name}`];
  check(
    differences.length === 0,
    'INVALID_ARGUMENT',
    () => `${run.dir} is there from an earlier sweep, and ${differences.join('; ')}. Name another folder in "out"`,
  );
  try {
    const status = (await readRuns([run.dir]))[0]?.status;
    return status === 'finished' || status === 'diverged' ? status : 'begun';
  } catch (error) {
    // No epoch yet.
    if (isMissing(error)) return 'begun';
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof KalmanNormError && (error.code === 'FILE_NOT_FOUND' || error.code === 'FILE_CORRUPT');
}

/**
 * Runs what is missing of a sweep, each run a process of its own. What a run prints goes into a file beside its folder.
 * Runs that a killed sweep left behind are waited for.
 *
 * @param signal asks the runs to end after their step, as Ctrl-C does; no other begins then
 * @returns what became of each run, in the plan's order
 * @throws KalmanNormError `INVALID_STATE` where another process runs the sweep; as {@link stageOf}, before any run starts
 */
export async function execute(
  plan: Plan,
  { signal, onChange = () => {} }: { signal: AbortSignal; onChange?: OnChange },
): Promise<Outcome[]> {
  for (const run of plan.runs) await stageOf(run);
  await makeFolder('out', plan.out);
  await lockFolder(plan.out);
  try {
    const outcomes: Outcome[] = [];
    let next = 0;
    const work = async () => {
      for (let i = next++; i < plan.runs.length; i = next++) {
        outcomes[i] = signal.aborted ? 'interrupted' : await bring(plan.runs[i] as PlannedRun, signal, onChange);
      }
    };
    await Promise.all(Array.from({ length: plan.jobs }, work));
    return outcomes;
  } finally {
    await unlockFolder(plan.out);
  }
}

/** Brings one run to its end. */
async function bring(run: PlannedRun, signal: AbortSignal, onChange: OnChange): Promise<Outcome> {
  const told = (outcome: Outcome, detail?: string) => {
    onChange(run, outcome, detail);
    return outcome;
  };
  const output = `${run.dir}.txt`;
  for (let hasFailed = false; ; hasFailed = true) {
    if (await isInUse(run.dir)) {
      // What failed was only too late: a killed sweep's run took its folder meanwhile.
      hasFailed = false;
      onChange(run, 'waiting');
    }
    while (await isInUse(run.dir)) {
      if (signal.aborted) return told('interrupted');
      await sleep(250);
    }
    const stage = await stageOf(run);
    if (stage === 'finished' || stage === 'diverged') return told(stage);
    if (hasFailed)
      return told('failed', `${(await readFile(output, 'utf8')).trimEnd().split('\n').at(-1)} (${output})`);
    onChange(run, stage === 'new' ? 'started' : 'resumed');
    const folder = stage === 'new' ? `--log_dir=${run.dir}` : `--resume=${run.dir}`;
    const code = await start(run.experiment.name, [...run.args, folder], output, signal);
    // Asked to stop before it could listen, it ends by the signal.
    if (wasInterrupted(code) || (code === null && signal.aborted)) return told('interrupted');
  }
}

/** Runs an experiment's script; null for one that a signal ended. */
async function start(
  script: string,
  args: readonly string[],
  output: string,
  signal: AbortSignal,
): Promise<number | null> {
  const path = fileURLToPath(new URL(`../${script}.ts`, import.meta.url));
  const file = await open(output, 'a');
  try {
    const child = spawn(process.execPath, ['--import=tsx', path, ...args], {
      stdio: ['ignore', file.fd, file.fd],
      env: { ...process.env, [sweepVariable]: String(process.pid) },
    });
    const stop = () => child.kill('SIGINT');
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    try {
      return await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
    } finally {
      signal.removeEventListener('abort', stop);
    }
  } finally {
    await file.close();
  }
}
