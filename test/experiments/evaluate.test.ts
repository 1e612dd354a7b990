import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { experiment as cifar } from '../../experiments/cifar.js';
import { evaluate, main } from '../../experiments/evaluate.js';
import { parseOptions } from '../../experiments/options.js';
import { run } from '../../experiments/runner.js';

const small = ['--dataset', 'synthetic', '-n', '1', '--limit-train', '64', '--limit-test', '48', '--batch-size', '16'];

for (const norm of ['kalman', 'batch']) {
  test.serial(`evaluate: a run with ${norm} norm`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-evaluate-'));
    try {
      const flags = ['--splits', '8', '--threads', '1', '--epochs', '2', '--log_dir', folder];
      t.is(await run(parseOptions(cifar, [...small, '--norm', norm, ...flags])!), 0);
      const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trim().split('\n');
      const last = lines.map((line) => JSON.parse(line)).findLast(({ type }) => type === 'epoch');
      const running = await evaluate(folder, 'running');
      t.is(running.error, last.validationError);
      t.is(running.loss, last.validationLoss);
      // Other averages, other losses; those of few images on few steps may be anything.
      const reestimated = await evaluate(folder, 'reestimated', { steps: 3 });
      t.true(Number.isFinite(reestimated.loss) && reestimated.loss !== running.loss);
      if (norm === 'kalman') {
        const belief = await evaluate(folder, 'belief', { steps: 3 });
        t.true(Number.isFinite(belief.loss) && belief.loss !== reestimated.loss);
      } else {
        await t.throwsAsync(evaluate(folder, 'belief'), {
          code: 'INVALID_ARGUMENT',
          message: /has no beliefs/,
        } as object);
      }
      const printed: string[] = [];
      t.is(await main([folder, '--steps', '3'], (line) => printed.push(line)), 0);
      t.is(printed.length, norm === 'kalman' ? 3 : 2);
      t.regex(printed[0]!, /^running +validation error \d+\.\d\d %/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

test('evaluate: what is wrong is told', async (t) => {
  const nowhere = join(tmpdir(), 'kalman-norm-nowhere');
  await t.throwsAsync(evaluate(nowhere, 'running'), { code: 'FILE_NOT_FOUND' } as object);
  for (const args of [[], [nowhere], [nowhere, '--statistics', 'none'], [nowhere, '--steps', '0'], ['--stats', 'x']]) {
    t.is(await main(args, () => {}), 1, args.join(' '));
  }
});
