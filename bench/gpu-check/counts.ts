import type { Outcome } from './child.js';
import { type Section, verbatim } from './report.js';

/** The section of a program that says at its end how many checks passed and failed. */
export function assessCounts({ lines, problem, seconds }: Outcome): Omit<Section, 'title'> {
  const counts = lines.find((line) => /^\d+ passed, \d+ failed$/.test(line)) ?? 'it did not reach its end';
  const [passed] = /^\d+/.exec(counts) ?? ['0'];
  const good = problem === null && Number(passed) > 0;
  return {
    status: good ? 'passed' : 'FAILED',
    summary: problem !== null && counts.startsWith('it') ? `${counts}; ${problem}` : counts,
    body: `${seconds.toFixed(0)} s.\n\n${verbatim(lines.join('\n'))}`,
  };
}
