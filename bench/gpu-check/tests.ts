import { readdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Outcome, root, runScript } from './child.js';
import type { CheckContext } from './context.js';
import { type Section, verbatim } from './report.js';

/** What a file in the Test Anything Protocol says. */
export interface TapResult {
  passed: number;
  failed: number;
  skipped: number;
  /** Lines of what failed, its title first. */
  failures: string[][];
  /** Titles of all that passed. */
  titles: string[];
}

export const testsTitle = 'Op tests';

/** Files that stand for the others where there is little time: an op of every kind of kernel, cuDNN, short activations. */
const small = [
  ...['batch-norm', 'conv2d', 'elementwise', 'kalman', 'loss'].map((name) => join('ops', `${name}.test.ts`)),
  join('optim', 'sgd.test.ts'),
  'precision.test.ts',
];

/** Tests on the device, from the files that have any. */
export async function checkTests({ options, report, say }: CheckContext): Promise<void> {
  const { device } = options;
  const { name, environment } = testDevice(device, process.env);
  const files = (await testFiles()).filter((file) => !options.small || small.includes(file));
  const lines: string[] = [];
  let shown = performance.now();
  await report.set(testsTitle, { status: 'running', summary: `${files.length} files` });
  const outcome = await runScript(
    'node_modules/ava/entrypoints/cli.mjs',
    [
      '--tap',
      // Each file opens the device anew: enough of them at once to keep it busy, few enough for its memory.
      `--concurrency=${Math.min(4, availableParallelism())}`,
      ...files.map((file) => `test/${file}`),
    ],
    {
      minutes: 30,
      // What fails is then reported by the operation that made it.
      environment: { KN_TEST_DEVICES: name, KN_DEBUG_SYNC: '1', ...environment },
      onLine(line) {
        lines.push(line);
        if (performance.now() < shown + 5000) return;
        shown = performance.now();
        const { passed, failed } = parseTap(lines);
        say(`  ${passed} passed, ${failed} failed so far`);
        // Not waited for: the section's end is written behind it.
        void report.set(testsTitle, { summary: `${passed} passed, ${failed} failed so far` });
      },
    },
  );
  await report.set(testsTitle, assessTests(outcome, name, files, options.small));
}

/** The section of tests that have run. */
export function assessTests(
  { lines, problem, seconds }: Outcome,
  device: string,
  files: readonly string[],
  onlySome: boolean,
): Omit<Section, 'title'> {
  const { passed, failed, skipped, failures, titles } = parseTap(lines);
  const onDevice = titles.filter((title) => title.includes(`[${device}`)).length;
  const counts = `${passed} passed (${onDevice} on ${device}), ${failed} failed, ${skipped} skipped`;
  // Without a test on the device, nothing has been shown. A crash may keep failures from being told.
  const good = failed === 0 && problem === null && onDevice > 0;
  const parts = [
    `${counts}; ${seconds.toFixed(0)} s. ${onlySome ? 'Only these files' : 'Files'}: ${files.join(', ')}.\n`,
  ];
  if (problem !== null) parts.push(`The test run ${problem}.\n`);
  if (failed > 0) {
    parts.push(`Repeat one with \`KN_DEBUG_SYNC=1 KN_TEST_DEVICES=${device} npx ava FILE\`.\n`);
    parts.push(verbatim(failures.slice(0, 40).flat().join('\n')));
  } else if (!good) {
    parts.push(verbatim(lines.slice(-40).join('\n')));
  }
  return {
    status: good ? 'passed' : 'FAILED',
    summary: problem === null || failed > 0 ? counts : `${counts}; ${problem}`,
    body: parts.join('\n'),
  };
}

/** Reads TAP, also that of a run which isn't over. */
export function parseTap(lines: readonly string[]): TapResult {
  const result: TapResult = { passed: 0, failed: 0, skipped: 0, failures: [], titles: [] };
  let failure: string[] | null = null;
  for (const line of lines) {
    const match = /^(not )?ok \d+ - (.*)$/.exec(line);
    if (match) {
      const title = match[2] as string;
      failure = null;
      if (/ # (SKIP|TODO)\b/.test(title)) result.skipped++;
      else if (match[1]) {
        result.failed++;
        failure = [title];
        result.failures.push(failure);
      } else {
        result.passed++;
        result.titles.push(title);
      }
    } else if (/^\s+\.\.\.$|^1\.\.\d|^# (tests|pass|fail|skip)\b/.test(line)) {
      failure = null;
    } else if (failure && failure.length < 25) {
      failure.push(line);
    }
  }
  return result;
}

/** The device's name in the tests, which know the first GPU only, and what makes another one the first. */
export function testDevice(
  device: string,
  environment: Readonly<Record<string, string | undefined>>,
): { name: string; environment: Record<string, string> } {
  const index = Number(/^cuda:(\d+)$/.exec(device)?.[1] ?? 0);
  if (index === 0) return { name: device, environment: {} };
  const visible = environment.CUDA_VISIBLE_DEVICES?.split(',')[index] ?? String(index);
  return { name: 'cuda:0', environment: { CUDA_VISIBLE_DEVICES: visible } };
}

/** Files with tests that run on each device, or that are about this one. */
async function testFiles(): Promise<string[]> {
  const folder = join(root, 'test');
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.test.ts')).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  return names.filter((name, i) => /^(cuda|precision)/.test(name) || texts[i]?.includes("/support/devices.js'"));
}
