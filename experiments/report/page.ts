import { colourOf } from './chart.js';
import { spreadOf } from './groups.js';
import type { EpochRecord, Run } from './log.js';

/**
 * Builds the report page: the chart, a table of final and best errors, the remarks, the data, the configurations. It
 * refers to no other file.
 *
 * @param runs at least one
 * @param title heading of the page
 * @param svg the chart, which becomes part of the page
 * @param filters the picture of what filters did, too; null for none
 */
export function buildPage(runs: readonly Run[], title: string, svg: string, filters: string | null = null): string {
  const notes = [...new Set(runs.map(({ config }) => config.datasetNote).filter((note) => typeof note === 'string'))];
  const remarks = runs.flatMap((run) => run.remarks.map((remark) => `${run.label}: ${remark}`));
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
<h1>${escapeHtml(title)}</h1>
<figure>${svg}</figure>
<h2>Errors</h2>
${errorTable(runs)}
${list([...remarks, ...notes])}
${filters === null ? '' : `<h2>Filters</h2>\n<figure>${filters}</figure>\n`}<h2>Configurations</h2>
<p>Rows in bold differ between the runs.</p>
${configTable(runs)}
</html>
`;
}

/** What the table of errors says about a run. Errors are shares from 0 to 1; null where there is no number. */
export interface RunSummary {
  readonly steps: number;
  readonly epochs: number;
  readonly finalValidationError: number | null;
  readonly finalTrainError: number | null;
  /** The first epoch with the lowest validation error. */
  readonly best: { readonly validationError: number; readonly epoch: number } | null;
  /** Median over the epochs. */
  readonly imagesPerSecond: number | null;
}

/** Sums up a run for the table. */
export function summarize({ epochs }: Run): RunSummary {
  const last = epochs.at(-1)!;
  let best: RunSummary['best'] = null;
  for (const { validationError, epoch } of epochs) {
    if (validationError !== null && (best === null || validationError < best.validationError)) {
      best = { validationError, epoch };
    }
  }
  return {
    steps: last.step,
    epochs: last.epoch,
    finalValidationError: last.validationError,
    finalTrainError: last.trainError,
    best,
    imagesPerSecond: median(epochs.map((epoch: EpochRecord) => epoch.imagesPerSecond)),
  };
}

function errorTable(runs: readonly Run[]): string {
  const rows = runs.map((run, i) => {
    const summary = summarize(run);
    const best = summary.best === null ? '–' : `${percent(summary.best.validationError)} (epoch ${summary.best.epoch})`;
    const ends = run.members?.map(summarize) ?? [];
    const cells = [
      withSpread(
        summary.finalValidationError,
        ends.map((end) => end.finalValidationError),
      ),
      best,
      withSpread(
        summary.finalTrainError,
        ends.map((end) => end.finalTrainError),
      ),
      String(summary.epochs),
      summary.steps.toLocaleString('en-US'),
      summary.imagesPerSecond === null ? '–' : Math.round(summary.imagesPerSecond).toLocaleString('en-US'),
      run.status,
    ];
    const swatch = `<i style="background:${colourOf(i)}"></i>`;
    return `<tr><th scope="row">${swatch}${escapeHtml(run.label)}</th>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`;
  });
  const heads = ['run', 'final error', 'best error', 'final training error', 'epochs', 'steps', 'images/s', 'status'];
  return table(heads, rows);
}

function configTable(runs: readonly Run[]): string {
  const configs = runs.map(({ config }) => flatten(config));
  const keys = [...new Set(configs.flatMap((config) => [...config.keys()]))];
  const rows = keys.map((key) => {
    const values = configs.map((config) => config.get(key) ?? '–');
    const differs = new Set(values).size > 1;
    const cells = values.map((value) => `<td>${escapeHtml(value)}</td>`).join('');
    return `<tr${differs ? ' class="differs"' : ''}><th scope="row">${escapeHtml(key)}</th>${cells}</tr>`;
  });
  return table(['option', ...runs.map((run) => run.label)], rows);
}

/** Nested objects become rows named `outer.inner`. */
function flatten(config: Readonly<Record<string, unknown>>, prefix = ''): Map<string, string> {
  const entries = Object.entries(config).flatMap(([key, value]): [string, string][] => {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isObject) return [...flatten(value as Record<string, unknown>, `${prefix}${key}.`)];
    return [[prefix + key, typeof value === 'string' ? value : JSON.stringify(value)]];
  });
  return new Map(entries);
}

function table(heads: readonly string[], rows: readonly string[]): string {
  const head = heads.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('');
  return `<div><table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${rows.join('\n')}\n</tbody>\n</table></div>`;
}

function list(items: readonly string[]): string {
  return items.length === 0 ? '' : `<ul>\n${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('\n')}\n</ul>`;
}

/** A mean with the standard deviation over the seeds, where there are several. */
function withSpread(mean: number | null, figures: readonly (number | null)[]): string {
  const spread = spreadOf(figures);
  return mean !== null && spread && spread.count > 1
    ? `${(mean * 100).toFixed(2)} ± ${percent(spread.deviation)}`
    : percent(mean);
}

/** A share from 0 to 1 for people. */
export function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(2)} %`;
}

function median(values: readonly (number | null)[]): number | null {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return null;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A text for HTML, and for SVG. */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[&<>"]/g, (character) => entities[character]!);
}

const style = `
body { font: 16px/1.5 "DejaVu Sans", Verdana, Helvetica, Arial, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.3rem 0.8rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th[scope=row], th:first-child { text-align: left; font-weight: normal; }
thead th { border-bottom: 2px solid #444; }
tr.differs th, tr.differs td { font-weight: bold; }
td { font-variant-numeric: tabular-nums; }
i { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.5em; }
`;
