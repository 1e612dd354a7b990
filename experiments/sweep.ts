/**
 * Runs a grid of configurations and seeds: `npm run sweep -- SWEEP.yaml [--jobs N] [--list]`.
 */
import colors from 'picocolors';
import { check } from '../lib/errors.js';
import { runAsProgram, runCommand } from './command.js';
import { number } from './flags.js';
import { interruption } from './interruption.js';
import { execute, stageOf } from './sweep/execute.js';
import { type Plan, readPlan } from './sweep/plan.js';

const flags = {
  jobs: { type: 'string' },
  list: { type: 'boolean' },
} as const;

const usage = `usage: npm run sweep -- SWEEP.yaml [--jobs N] [--list]

Trains every combination of the grid with every seed, each in a folder of its own. Started again, it goes on: runs that
have ended are left alone, runs that were stopped are resumed. SWEEP.yaml (or .json) holds

  experiment: cifar              # the script; default: cifar
  out: train_log/micro-batches   # folder of the runs; default: train_log and the file's name
  jobs: 2                        # runs at a time; default: 1
  seeds: 3                       # 0, 1 and 2; or a list. Default: 0 alone
  flags: { epochs: 30, threads: 1 }
  grid:                          # or a list of several
    norm: [batch, kalman]
    splits: [1, 64]

  --jobs N  runs at a time, whatever the file says
  --list    tell the runs and how far they are; start none

npm run report -- OUT draws them: a curve for each configuration, in a band over its seeds.`;

/** The command. Returns the exit code: 1 where a run failed, 130 after Ctrl-C, 143 after SIGTERM. */
async function main(args: readonly string[]): Promise<number> {
  return runCommand({ usage, flags }, args, console.log, async ({ positionals, values }) => {
    check(positionals.length === 1, 'INVALID_ARGUMENT', `SWEEP.yaml: expected one file, got ${positionals.length}`);
    const read = await readPlan(positionals[0] as string);
    const isCount = (value: number) => Number.isInteger(value) && value >= 1;
    const jobs = number('jobs', values.jobs, read.jobs, isCount, 'a whole number of at least 1');
    const plan = { ...read, jobs };
    if (values.list === true) {
      for (const run of plan.runs) console.log(`${(await stageOf(run)).padEnd(8)} ${run.dir}`);
      return 0;
    }
    return await sweep(plan);
  });
}

async function sweep(plan: Plan): Promise<number> {
  const interrupt = interruption();
  try {
    console.log(colors.bold(`${plan.runs.length} runs, ${plan.jobs} at a time, below ${plan.out}`));
    const crowded = plan.jobs > 1 && plan.runs.some(({ configuration }) => configuration.threads === 0);
    if (crowded) console.log(colors.yellow('runs without the flag threads take all cores, and these run side by side'));
    const outcomes = await execute(plan, {
      signal: interrupt.signal,
      onChange: (run, event, detail) => console.log(`${event.padEnd(11)} ${run.name}${detail ? `: ${detail}` : ''}`),
    });
    const count = (wanted: string) => outcomes.filter((outcome) => outcome === wanted).length;
    const kinds = ['finished', 'diverged', 'failed', 'interrupted'];
    console.log(kinds.flatMap((kind) => (count(kind) > 0 ? [`${count(kind)} ${kind}`] : [])).join(', '));
    if (interrupt.signal.aborted) return interrupt.exitCode();
    return count('failed') > 0 ? 1 : 0;
  } finally {
    interrupt.release();
  }
}

await runAsProgram(import.meta.url, main);
