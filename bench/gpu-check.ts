/** `npm run gpu:check`: the tests, the golden vectors and the benches on a GPU, in one report. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KalmanNormError } from '../lib/index.js';
import { type Part, parseGpuCheckArguments, usage } from './gpu-check/arguments.js';
import { endChild } from './gpu-check/child.js';
import type { CheckContext } from './gpu-check/context.js';
import { kernelsTitle, measureKernels, measureSteps, stepsTitle } from './gpu-check/figures.js';
import { checkGolden, goldenTitles } from './gpu-check/golden.js';
import { Report } from './gpu-check/report.js';
import { checkTests, testsTitle } from './gpu-check/tests.js';
import { compareTorch, torchTitle } from './gpu-check/torch.js';
import { describeVersions } from './gpu-check/versions.js';

/** What each part writes, and how. */
const work: Record<Part, { titles: readonly string[]; run: (context: CheckContext) => Promise<void> }> = {
  tests: { titles: [testsTitle], run: checkTests },
  golden: { titles: goldenTitles, run: checkGolden },
  bench: {
    titles: [kernelsTitle, stepsTitle],
    async run(context) {
      await measureKernels(context);
      await measureSteps(context);
    },
  },
  torch: { titles: [torchTitle], run: compareTorch },
};

/** The command. Returns the exit code. */
async function main(): Promise<number> {
  const options = parseGpuCheckArguments(process.argv.slice(2), process.env);
  if (!options) {
    console.log(usage);
    return 0;
  }
  const head = describeVersions(options);
  console.log(head);
  const titles = options.only.flatMap((part) => work[part].titles);
  const report = new Report(options.report, head, titles);
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    for (const part of options.only) {
      console.log(`${part}:`);
      await work[part].run({ options, report, work: folder, say: console.log });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(`\n${report.summary}\n\nThe report: ${options.report}`);
  return report.failed ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    endChild();
    process.exit(1);
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof KalmanNormError)) throw error;
  console.error(`gpu:check: ${error.message}`);
  process.exitCode = 1;
}
