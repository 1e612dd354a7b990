import { join } from 'node:path';
import { runScript } from './child.js';
import type { CheckContext } from './context.js';
import { verbatim } from './report.js';

export const experimentsTitle = 'The five experiments, an epoch each';

const names = ['cifar-kn-microbatch', 'cifar-kn-largebatch', 'cifar-bn-microbatch', 'cifar-bn-largebatch', 'cifar-gn'];

/** Whether the experiments run on the device: an epoch of the smallest network on made-up images. */
export async function checkExperiments({ options, report, work, say }: CheckContext): Promise<void> {
  const { device, small } = options;
  const failures: string[] = [];
  const chosen = small ? names.slice(0, 1) : names;
  await report.set(experimentsTitle, { status: 'running' });
  for (const name of chosen) {
    const images = small
      ? ['--limit-train', '128', '--limit-test', '128']
      : ['--limit-train', '2048', '--limit-test', '512'];
    const flags = ['--device', device, '-n', '1', '--epochs', '1', '--dataset', 'synthetic', ...images];
    const { lines, problem, seconds } = await runScript(
      `experiments/${name}.ts`,
      [...flags, '--log_dir', join(work, name)],
      { minutes: 3 },
    );
    say(`  ${name}: ${problem ?? 'done'}, ${seconds.toFixed(0)} s`);
    if (problem !== null) failures.push(`${name} ${problem}\n${lines.slice(-8).join('\n')}`);
  }
  await report.set(experimentsTitle, {
    status: failures.length === 0 ? 'passed' : 'FAILED',
    summary: `${chosen.length - failures.length} of ${chosen.length} reached their end`,
    body: failures.length === 0 ? '' : verbatim(failures.join('\n\n')),
  });
}
