import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { root, runScript } from './child.js';
import type { CheckContext } from './context.js';
import { assessCounts } from './counts.js';

const precisions = ['fp32', 'bf16'] as const;

export const goldenTitles = precisions.map(goldenTitle);

function goldenTitle(precision: string): string {
  return `Golden vectors, ${precision}`;
}

/** The vectors recorded from the reference implementation, on the device. */
export async function checkGolden({ options, report, say }: CheckContext): Promise<void> {
  const { device, golden } = options;
  const folder = golden === null ? resolve(root, '..', 'shared', 'golden') : resolve(golden);
  for (const precision of precisions) {
    const title = goldenTitle(precision);
    if (!existsSync(folder)) {
      // One that was named has to be there.
      const status = golden === null ? 'skipped' : 'FAILED';
      await report.set(title, { status, summary: `${golden ?? '../shared/golden'} isn't there (--golden DIR)` });
      continue;
    }
    await report.set(title, { status: 'running' });
    const args = [folder, '--device', device, '--precision', precision];
    const outcome = await runScript('experiments/golden.ts', args, {
      minutes: 15,
      onLine(line) {
        if (!line.startsWith('pass')) say(`  ${line}`);
      },
    });
    await report.set(title, assessCounts(outcome));
  }
}
