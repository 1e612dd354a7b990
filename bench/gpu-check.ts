/** `npm run gpu:check`: the tests, the golden vectors and the benches on a GPU, in one report. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KalmanNormError } from '../lib/index.js';
import { type Part, parseGpuCheckArguments, usage } from './gpu-check/arguments.js';
import { endChild, OutOfTime, runScript, startClock } from './gpu-check/child.js';
import type { CheckContext } from './gpu-check/context.js';
import { checkExperiments, experimentsTitle } from './gpu-check/experiments.js';
import { kernelsTitle, measureKernels, measureSteps, stepsTitle } from './gpu-check/figures.js';
import { checkGolden, goldenTitles } from './gpu-check/golden.js';
import { checkRecording, checkSanitizer, recordingTitle, sanitizerTitle } from './gpu-check/recording.js';
import { Report, readEarlier } from './gpu-check/report.js';
import { checkTests, testsTitle } from './gpu-check/tests.js';
import { compareTorch, torchTitle } from './gpu-check/torch.js';
import { commit } from './gpu-check/versions.js';

/** What each part writes, and how. */
const work: Record<Part, { titles: readonly string[]; run: (context: CheckContext) => Promise<void> }> = {
  tests: { titles: [testsTitle], run: checkTests },
  sanitizer: { titles: [sanitizerTitle], run: checkSanitizer },
  recording: { titles: [recordingTitle], run: checkRecording },
  golden: { titles: goldenTitles, run: checkGolden },
  experiments: { titles: [experimentsTitle], run: checkExperiments },
  bench: {
    titles: [kernelsTitle, stepsTitle],
    async run(context) {
      await measureKernels(context);
      await measureSteps(context);
    },
  },
  torch: { titles: [torchTitle], run: compareTorch },
};

/** The device and the versions, which a process of its own finds out: this one never opens the device. */
async function describe(args: readonly string[]): Promise<string> {
  const { lines, problem } = await runScript('bench/gpu-check/describe.ts', args, { minutes: 2 });
  if (problem !== null) throw new KalmanNormError('DEVICE_UNAVAILABLE', `${lines.join('\n')} (${problem})`);
  return lines.join('\n');
}

/** The command. Returns the exit code. */
async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const options = parseGpuCheckArguments(args, process.env);
  if (!options) {
    console.log(usage);
    return 0;
  }
  startClock(options.minutes);
  const head = await describe(args);
  console.log(head);
  const titles = options.only.flatMap((part) => work[part].titles);
  const subject = { commit: commit(), device: options.device, small: options.small };
  const earlier = options.resume ? await readEarlier(options.report, subject) : [];
  const report = new Report(options.report, head, titles, subject, earlier);
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    for (const part of options.only) {
      if (report.has(work[part].titles)) continue;
      console.log(`${part}:`);
      await work[part].run({ options, report, work: folder, say: console.log });
    }
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
    await report.interrupt(`the ${options.minutes} minutes were over; --resume goes on here`);
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
