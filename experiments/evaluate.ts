/**
 * Tells what of a run's error is its statistics': `npm run evaluate -- RUN_DIR [--statistics NAME] [--steps N]`.
 */
import { check } from '../lib/errors.js';
import { type Figures, Sgd, Trainer } from '../lib/index.js';
import { runAsProgram, runCommand } from './command.js';
import { choice } from './flags.js';
import { storedConfiguration } from './resume.js';
import { openRun, runWords } from './stored-run.js';

/** What inference normalizes by. */
export type Statistics = 'running' | 'reestimated' | 'belief';

const names: readonly Statistics[] = ['running', 'reestimated', 'belief'];

const flags = {
  statistics: { type: 'string' },
  steps: { type: 'string' },
  threads: { type: 'string' },
} as const;

const usage = `usage: npm run evaluate -- RUN_DIR [--statistics NAME] [--steps N] [--threads N]

Evaluates the network of a run, by one kind of statistics or by all that it has:

  running      the running averages of training, as they are in model.safetensors
  reestimated  averages of N more training steps, weights as they are
  belief       the same of a Kalman network, of its beliefs alone: without a look at the batch (gain 0)

  --statistics NAME  only these. Default: all
  --steps N          training steps for the averages, which weigh the last ten most. Default: 50
  --threads N        of the CPU device. Default: as the run`;

/** Options of {@link evaluate}. */
export interface EvaluateOptions {
  /** Training steps that make the averages; default 50. */
  readonly steps?: number;
  /** Of the CPU device, 0 for one a core; default: as the run. */
  readonly threads?: number | undefined;
}

/**
 * Evaluates the network of a run.
 *
 * @param folder the run's, with `log.jsonl` and `model.safetensors`
 * @throws KalmanNormError `INVALID_ARGUMENT` for beliefs of a network that has none; as reading log, model and data
 */
export async function evaluate(
  folder: string,
  statistics: Statistics,
  options: EvaluateOptions = {},
): Promise<Figures> {
  const run = await storedConfiguration(folder);
  const { seed, batchSize, accumulate = 1 } = run;
  const { steps = 50, threads = run.threads } = options;
  let { norm } = run;
  if (statistics === 'belief') {
    check(
      norm.type === 'kalman' || norm.type === 'group-kalman',
      'INVALID_ARGUMENT',
      `statistics: a network with ${norm.type} norm has no beliefs`,
    );
    norm = { ...norm, gain: 0 };
  }
  const stored = await openRun(folder, run, { steps, threads, norm });
  await using device = stored.device;
  const { model, dataset, mean } = stored;
  // Training steps at no learning rate: what moves is what normalizations keep.
  using optimizer = new Sgd(device, model.namedParameters(), 0);
  using trainer = new Trainer({ device, model, optimizer, dataset, batchSize, accumulate, seed, mean });
  const epochs = statistics === 'running' ? 0 : Math.ceil(steps / trainer.stepsPerEpoch);
  for (let epoch = 1; epoch <= epochs; epoch++) await trainer.trainEpoch(epoch);
  return await trainer.evaluate();
}

/** The command. Returns the exit code. */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  return runCommand({ usage, flags }, args, print, async ({ positionals, values }) => {
    const { folder, steps, threads } = runWords(positionals, values);
    const { norm } = await storedConfiguration(folder);
    const known = names.filter((name) => name !== 'belief' || ['kalman', 'group-kalman'].includes(norm.type));
    const wanted =
      values.statistics === undefined ? known : [choice('statistics', values.statistics, 'running', names)];
    for (const statistics of wanted) {
      const { error, loss } = await evaluate(folder, statistics, { steps, threads });
      print(`${statistics.padEnd(12)} validation error ${(100 * error).toFixed(2)} %  loss ${loss.toFixed(4)}`);
    }
    return 0;
  });
}

await runAsProgram(import.meta.url, main);
