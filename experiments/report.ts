/**
 * Draws the curves of several runs: `npm run report -- RUN_DIR... [--out DIR] [--title TEXT] [--dashed RUN_DIR]`; or
 * follows them while they train: `npm run report -- RUN_DIR... --watch [--port N]`.
 */
import { once } from 'node:events';
import { dirname, join, resolve } from 'node:path';
import { check } from '../lib/errors.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { makeFolder } from '../lib/io/make-folder.js';
import { runAsProgram, runCommand } from './command.js';
import { number } from './flags.js';
import { drawSvg, renderPng } from './report/chart.js';
import { drawFilters } from './report/filters.js';
import { groupRuns, spreadOf } from './report/groups.js';
import { distinguish, type Run, readRuns, runFolders } from './report/log.js';
import { buildPage, percent, summarize } from './report/page.js';
import { watchRuns } from './report/watch.js';

const defaultPort = 6016;

const flags = {
  out: { type: 'string' },
  title: { type: 'string' },
  dashed: { type: 'string', multiple: true },
  watch: { type: 'boolean' },
  port: { type: 'string' },
} as const;

const usage = `usage: npm run report -- RUN_DIR... [--out DIR] [--title TEXT] [--dashed RUN_DIR]
       npm run report -- RUN_DIR... --watch [--port N]

Reads log.jsonl in every RUN_DIR, and writes report.svg, report.png and report.html; of runs with --diagnose filters.svg,
too. Runs that differ in nothing but their
seed become one curve, their mean, in a band from the lowest to the highest. The folder of a sweep stands for its runs.

  --dashed RUN_DIR  a run to compare with: dashed, and its training error is left out; may be repeated
  --out DIR     where to write. Default: the folder that holds the first RUN_DIR
  --title TEXT  heading of the chart and the page. Default: names the data set

With --watch nothing is written: a page, for this machine alone, follows the runs until Ctrl-C.

  --port N      of the page; 0 takes any that is free. Default: ${defaultPort}`;

/** Options of {@link writeReport}. */
export interface ReportOptions {
  /** The folder for the files; created if need be. Default: the folder that holds the first run's folder */
  readonly out?: string | undefined;
  /** Heading of the chart and the page. Default: names the data set where all the runs have the same */
  readonly title?: string | undefined;
  /** Folders of runs to compare with, which are drawn dashed; among `dirs` or beside them. */
  readonly dashed?: readonly string[] | undefined;
}

/** What {@link writeReport} did. */
export interface Report {
  readonly runs: readonly Run[];
  /** Paths of report.svg, report.png and report.html, and of filters.svg where a run's filters were looked at. */
  readonly files: readonly string[];
  /** Things the user should know, though the report was written. */
  readonly warnings: readonly string[];
}

/**
 * Writes `report.svg`, `report.png` and `report.html` about several runs, and `filters.svg` about those whose filters were
 * looked at. Nothing is written unless every log can be
 * read.
 *
 * @param dirs the folders of the runs, each with a `log.jsonl`, or of sweeps
 * @throws KalmanNormError as `readRuns`
 */
export async function writeReport(dirs: readonly string[], options: ReportOptions = {}): Promise<Report> {
  const { dashed = [] } = options;
  const [folders, references] = await Promise.all([runFolders(dirs), runFolders(dashed)]);
  const read = await readRuns([...folders, ...references.filter((dir) => !folders.includes(dir))]);
  const marked = read.map((run) => (references.includes(run.dir) ? { ...run, isReference: true } : run));
  const runs = distinguish(groupRuns(marked));
  const { out = dirname(resolve(folders[0]!)), title = defaultTitle(runs) } = options;
  const svg = drawSvg(runs, title);
  const { png, hasFont } = renderPng(svg);
  const filters = drawFilters(runs);
  const contents: (readonly [string, string | Uint8Array])[] = [
    ['report.svg', svg],
    ['report.png', png],
    ['report.html', buildPage(runs, title, svg, filters)],
    ...(filters === null ? [] : ([['filters.svg', filters]] as const)),
  ];
  await makeFolder('--out', out);
  for (const [name, content] of contents) await writeFileAtomic(join(out, name), content);
  const warnings = runs.flatMap((run) => run.remarks.map((remark) => `${run.label}: ${remark}`));
  if (!hasFont) warnings.push('report.png has no text: the system has no font. Install fonts-dejavu-core.');
  return { runs, files: contents.map(([name]) => join(out, name)), warnings };
}

function defaultTitle(runs: readonly Run[]): string {
  const names = new Set(runs.map(({ config }) => config.dataset));
  const [name] = names;
  return names.size === 1 && typeof name === 'string' ? `Errors on ${name}` : 'Errors';
}

/** Serves the page until the process is told to end. */
async function watch(dirs: readonly string[], options: { port?: string | undefined } & ReportOptions): Promise<void> {
  const unused = (['out', 'title', 'dashed'] as const).find((name) => options[name] !== undefined);
  check(unused === undefined, 'INVALID_ARGUMENT', `--${unused}: doesn't go with --watch, which writes nothing`);
  check(dirs.length > 0, 'INVALID_ARGUMENT', 'RUN_DIR: expected at least one folder of a run, got none');
  const isPort = (value: number) => Number.isInteger(value) && value >= 0 && value <= 65_535;
  const port = number('port', options.port, defaultPort, isPort, 'a whole number from 0 to 65535');
  const page = await watchRuns(dirs, port);
  console.log(`${page.url} follows ${dirs.join(', ')}; Ctrl-C ends it`);
  await Promise.race(['SIGINT', 'SIGTERM'].map((signal) => once(process, signal)));
  await page.close();
}

/** The command. Returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  return runCommand({ usage, flags }, args, console.log, async ({ positionals, values }) => {
    check(values.watch === true || values.port === undefined, 'INVALID_ARGUMENT', '--port: goes with --watch');
    if (values.watch === true) {
      await watch(positionals, values);
      return 0;
    }
    const { runs, files, warnings } = await writeReport(positionals, values);
    for (const run of runs) {
      const { finalValidationError, best, epochs } = summarize(run);
      const bestText = best === null ? 'no validation error' : `best ${percent(best.validationError)}`;
      const spread = spreadOf((run.members ?? []).map((member) => summarize(member).finalValidationError));
      const deviation = spread ? ` ± ${percent(spread.deviation)}` : '';
      console.log(
        `${run.label}: ${percent(finalValidationError)}${deviation} after ${epochs} epochs, ${bestText} (${run.status})`,
      );
    }
    for (const warning of warnings) console.warn(`warning: ${warning}`);
    for (const file of files) console.log(file);
    return 0;
  });
}

await runAsProgram(import.meta.url, main);
