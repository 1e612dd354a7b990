import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchResults, Failure } from '../support/results.js';
import { digits, type Row } from '../support/table.js';
import { runScript } from './child.js';
import type { CheckContext } from './context.js';
import { markdownTable, meaningless, type Section } from './report.js';

/** A run of `npm run bench`, each in a process of its own. */
interface Run {
  /** Heads the columns of its figures. */
  label: string;
  filters: readonly string[];
  flags: readonly string[];
  environment?: Readonly<Record<string, string>>;
}

/** What runs of one kind of case found. */
interface Found {
  label: string;
  rows: readonly Row[];
}

export const kernelsTitle = 'Normalization kernels';
export const stepsTitle = 'Training steps';

/** The normalizations at the sizes of the CIFAR and ImageNet networks. */
export function measureKernels(context: CheckContext): Promise<void> {
  const suites = ['kalman', 'batch-norm', 'group-norm'];
  const runs = ['fp32', 'bf16'].flatMap((precision) =>
    suites.map(
      (suite): Run => ({ label: precision, filters: [suite], flags: ['--precision', precision, '--time', '300'] }),
    ),
  );
  return measure(context, kernelsTitle, runs, (found) => kernelTable(found));
}

/** Whole training steps, in all precisions, with cuDNN's algorithms timed, and with all launches in a row. */
export function measureSteps(context: CheckContext): Promise<void> {
  const depths = context.options.small ? [1] : [5, 18];
  const time = ['--time', '500'];
  const runs = depths.flatMap((n) => [
    ...['fp32', 'bf16', 'tf32'].map(
      (precision): Run => ({
        label: precision,
        filters: ['step', `n=${n}`],
        flags: ['--precision', precision, ...time],
      }),
    ),
    ...['fp32', 'bf16'].map(
      (precision): Run => ({
        label: `${precision}, timed`,
        // Eager steps wait for JavaScript and launches, whatever the algorithm.
        filters: ['step', `n=${n}`, 'replayed'],
        flags: ['--precision', precision, '--benchmark', ...time],
      }),
    ),
    {
      label: 'bf16, without branches',
      filters: ['step', `n=${n}`, 'replayed'],
      flags: ['--precision', 'bf16', ...time],
      environment: { KN_DEBUG_BRANCHES: '0' },
    },
  ]);
  return measure(context, stepsTitle, runs, (found) => stepTable(found));
}

async function measure(
  { options, report, work, say }: CheckContext,
  title: string,
  runs: readonly Run[],
  render: (found: readonly Found[]) => string,
): Promise<void> {
  const found: Found[] = [];
  const failures: Failure[] = [];
  const known = (): Omit<Section, 'title' | 'status'> => ({
    summary: `${found.reduce((sum, { rows }) => sum + rows.length, 0)} figures, ${failures.length} failed`,
    body: `${options.small ? meaningless : ''}${render(found)}${failureList(failures)}`,
    data: { found, failures },
  });
  await report.set(title, { status: 'running' });
  for (const { label, filters, flags, environment } of runs) {
    const name = [...filters, ...flags, ...Object.keys(environment ?? {})].join(' ');
    const file = join(work, `${name.replaceAll(/[^\w.-]+/g, '_')}.json`);
    const size = options.small ? ['--smoke'] : [];
    const args = [...filters, '--device', options.device, ...flags, ...size, '--json', file];
    const { lines, problem, seconds } = await runScript('bench/main.ts', args, {
      minutes: 10,
      // Benches record with gradients that are still there: memory that the emulated device would not give a recording.
      environment: { KN_EMULATION_STRICT: '0', ...environment },
    });
    const results = await readResults(file);
    if (results) found.push({ label, rows: results.rows });
    failures.push(...(results?.failures ?? []).map((failure) => ({ ...failure, name: `${failure.name} (${label})` })));
    // A case that fails is in the results, and the run goes on; another end has cut it short.
    if (problem !== null && !results?.failures.length) {
      const last = lines.filter((line) => line.trim() !== '').slice(-3);
      failures.push({ name: `bench ${name}`, reason: [problem, ...last].join('; ') });
    }
    say(`  ${name}: ${results?.rows.length ?? 0} figures, ${seconds.toFixed(0)} s`);
    await report.set(title, known());
  }
  await report.set(title, { status: failures.length === 0 ? 'measured' : 'incomplete', ...known() });
}

async function readResults(file: string): Promise<BenchResults | null> {
  const text = await readFile(file, 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as BenchResults);
}

function failureList(failures: readonly Failure[]): string {
  if (failures.length === 0) return '';
  // The other failures of a run mostly repeat its first one: a device that has failed stays so.
  const lines = failures.slice(0, 40).map(({ name, reason }) => `- ${name}: ${reason.split('\n')[0]}`);
  const more = failures.length > lines.length ? [`- and ${failures.length - lines.length} more`] : [];
  return `\nNot measured:\n\n${[...lines, ...more].join('\n')}\n`;
}

/** Time, GB/s and share of a copy's bandwidth of each kernel, one below the other; a group of columns a precision. */
export function kernelTable(found: readonly Found[]): string {
  const { labels, names, find } = arrange(found);
  const head = labels.flatMap((label) => [`${label}: time`, 'GB/s', 'of copy', 'copy GB/s']);
  const rows = names.map((name) => [
    name,
    ...labels.flatMap((label) => {
      const row = find(name, label);
      if (!row) return ['–', '', '', ''];
      const { median, gigabytesPerSecond: rate = Number.NaN, ofCopy = Number.NaN } = row;
      const time = median < 1 ? `${digits(1000 * median)} µs` : `${digits(median)} ms`;
      return [
        time,
        digits(rate),
        Number.isFinite(ofCopy) ? `${(100 * ofCopy).toFixed(0)} %` : '–',
        digits(rate / ofCopy),
      ];
    }),
  ]);
  return (
    'Replayed, the launch of a replay included; with ReLU. GB/s: what must move (each input once in, each output once out), in the bytes that the ' +
    "precision stores. Of copy: as a share of what copying a tensor of this shape reaches. cuDNN's batch normalization " +
    'is measured in NHWC, as activations lie here; in NCHW it is not measured, because the device never has that layout.\n\n' +
    markdownTable(['kernel', ...head], rows)
  );
}

/** Images a second of each step; a column a precision, and one more each where the step is enqueued from JavaScript. */
export function stepTable(found: readonly Found[]): string {
  const { labels, names, find } = arrange(found);
  const steps = [...new Set(names.map((name) => name.replace(/ (eager|replayed)$/, '')))];
  const columns = labels.flatMap((label) =>
    ['replayed', 'eager']
      .map((way) => ({ label, way }))
      // With timed algorithms, eager steps aren't measured.
      .filter(({ way }) => names.some((name) => name.endsWith(way) && find(name, label))),
  );
  const rows = steps.map((step) => [
    step,
    ...columns.map(({ label, way }) => digits(find(`${step} ${way}`, label)?.imagesPerSecond ?? Number.NaN)),
  ]);
  const head = columns.map(({ label, way }) => `${label} ${way}`);
  return (
    'Images a second: forward, backward and update on one batch that stays. Timed: with `benchmark`, the fastest of ' +
    `cuDNN's algorithms.\n\n${markdownTable(['step', ...head], rows)}`
  );
}

/** Labels and names in the order of their first appearance, and the row of both. */
function arrange(found: readonly Found[]) {
  const labels = [...new Set(found.map(({ label }) => label))];
  const names = [...new Set(found.flatMap(({ rows }) => rows.map(({ name }) => name)))];
  const table = new Map(found.flatMap(({ label, rows }) => rows.map((row) => [`${label} ${row.name}`, row] as const)));
  return { labels, names, find: (name: string, label: string) => table.get(`${label} ${name}`) };
}
