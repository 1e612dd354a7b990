/**
 * Compares the library with tensors recorded from the reference implementation:
 * `npm run golden -- DIR [--device cpu|cuda:N] [--precision P] [--threads N] [--filter TEXT]`.
 */
import { check } from '../lib/errors.js';
import { openDevice, type Precision } from '../lib/index.js';
import { runAsProgram, runCommand } from './command.js';
import { type CaseResult, passed } from './golden/case.js';
import type { Comparison } from './golden/compare.js';
import { runGolden } from './golden/run.js';

const flags = {
  device: { type: 'string' },
  precision: { type: 'string' },
  threads: { type: 'string' },
  filter: { type: 'string' },
} as const;

const usage = `usage: npm run golden -- DIR [--device NAME] [--precision P] [--threads N] [--filter TEXT]

Runs every pair of .json and .safetensors files in DIR through the library, and compares with what they record.

  --device NAME  cpu or cuda:N. Default: cpu
  --precision P  fp32, tf32, fp16 or bf16, of a CUDA device. Default: fp32
  --threads N    threads of the CPU device. Default: one a core
  --filter TEXT  only cases whose name contains TEXT`;

/** The line about a case: its name, its worst tensor, and why it failed. */
export function resultLine(result: CaseResult): string {
  const { id, comparisons, faults } = result;
  const share = ({ error, tolerance }: Comparison) => error / tolerance;
  const byShare = [...comparisons].sort((a, b) => share(b) - share(a));
  // A tensor that failed says more than one that passed, by the fallback, with a larger error.
  const worst = byShare.find((comparison) => !comparison.passed) ?? byShare[0];
  const failed = comparisons.filter((comparison) => !comparison.passed && comparison !== worst);
  const flipped = comparisons.filter((comparison) => comparison.flipped !== null);
  const texts = [
    ...(worst ? [`worst ${worst.name}: error ${digits(worst.error)}, tolerance ${digits(worst.tolerance)}`] : []),
    ...(failed.length > 0 ? [`also failed: ${failed.map(({ name }) => name).join(', ')}`] : []),
    ...(flipped.length > 0 ? [flipText(flipped)] : []),
    ...faults,
  ];
  return `${passed(result) ? 'pass' : 'FAIL'}  ${id}  ${texts.join('; ')}`;
}

function flipText(flipped: readonly Comparison[]): string {
  const tensors = flipped.map(({ name, error, flipped: l2 }) => `${name} (error ${digits(error)}, L2 ${digits(l2!)})`);
  return `passed only by the flip-tolerant fallback: ${tensors.join(', ')}`;
}

function digits(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}

/** The command. Returns the exit code. */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  return runCommand({ usage, flags }, args, print, async ({ positionals, values }) => {
    const [dir] = positionals;
    check(
      dir !== undefined && positionals.length === 1,
      'INVALID_ARGUMENT',
      `DIR: expected one folder of golden files, got ${positionals.length}`,
    );
    // openDevice checks the range; an empty text must not become 0.
    const threads = values.threads === undefined ? 0 : Number(values.threads.trim() || Number.NaN);
    using device = openDevice(values.device ?? 'cpu', { threads, precision: values.precision as Precision });
    print(`${device.name}: ${device.description}`);
    const counts = { passed: 0, failed: 0 };
    for await (const result of runGolden(dir, device, { filter: values.filter })) {
      counts[passed(result) ? 'passed' : 'failed']++;
      print(resultLine(result));
    }
    print(`${counts.passed} passed, ${counts.failed} failed`);
    return counts.failed === 0 ? 0 : 1;
  });
}

await runAsProgram(import.meta.url, main);
