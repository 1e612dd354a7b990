import { readFile, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { KalmanNormError } from '../../lib/errors.js';
import { groupRuns, spreadOf } from './groups.js';
import { distinguish, type EpochRecord, labelOf, logFile, parseLog, type Run, runFolders } from './log.js';

/** A figure of an epoch: its mean over the seeds, and their range where there are several. */
export type Point = readonly [mean: number | null, lowest: number | null, highest: number | null];

/** The figures that can be drawn. */
export const figures = [
  'validationError',
  'trainError',
  'validationLoss',
  'trainLoss',
  'learningRate',
  'imagesPerSecond',
] as const;
type Figure = (typeof figures)[number];

/** What the page shows of a configuration: one run, or the mean of several seeds. */
export interface Curve extends Readonly<Record<Figure, readonly Point[]>> {
  readonly label: string;
  readonly status: Run['status'] | 'starting';
  /** How many seeds have an epoch. */
  readonly seeds: number;
  readonly epochs: number;
  /** Of the configuration; null where the log doesn't say. */
  readonly allEpochs: number | null;
  /** Median of the last epochs. */
  readonly speed: number | null;
  /** Seconds until the last of the seeds is done, as far as its epochs go on as its last ones did; null when nothing runs. */
  readonly secondsLeft: number | null;
  readonly steps: readonly number[];
}

/** A watched folder that can't be drawn, and why. */
export interface Problem {
  readonly dir: string;
  readonly message: string;
}

/**
 * Reads the runs as they are now. What has no epoch yet is there without points; a folder that can't be read is told of,
 * and the others go on.
 *
 * @param dirs folders of runs and sweeps; a sweep's new runs are found every time
 * @param now in milliseconds, for the time that is left
 */
export async function readCurves(
  dirs: readonly string[],
  now = Date.now(),
): Promise<{ curves: Curve[]; problems: Problem[] }> {
  const [runs, starting, problems]: [Run[], Curve[], Problem[]] = [[], [], []];
  const written = new Map<Run, number>();
  for (const dir of await runFolders(dirs)) {
    const path = join(dir, logFile);
    try {
      const [text, { mtimeMs }] = [await readFile(path, 'utf8'), await stat(path)];
      if (text.includes('\n{"type":"epoch"')) {
        const run = parseLog(text, dir);
        runs.push(run);
        written.set(run, mtimeMs);
      } else {
        starting.push(startingCurve(text, dir));
      }
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (!missing && !(error instanceof KalmanNormError)) throw error;
      problems.push({ dir, message: missing ? `there is no ${logFile} yet` : (error as Error).message });
    }
  }
  const drawn = distinguish(groupRuns(runs)).map((run) => curveOf(run, (member) => written.get(member) as number, now));
  return { curves: [...drawn, ...starting], problems };
}

function curveOf(run: Run, writtenAt: (run: Run) => number, now: number): Curve {
  const members = run.members ?? [run];
  const left = members.map((member) => secondsLeft(member, writtenAt(member), now)).filter((value) => value !== null);
  const points = (figure: Figure): Point[] =>
    run.epochs.map((record) => {
      const values = members.map(({ epochs }) => epochs.find(({ epoch }) => epoch === record.epoch)?.[figure] ?? null);
      const range = members.length > 1 ? spreadOf(values) : null;
      return [record[figure], range?.lowest ?? null, range?.highest ?? null];
    });
  return {
    label: run.label,
    status: run.status,
    seeds: members.length,
    epochs: run.epochs.at(-1)?.epoch ?? 0,
    allEpochs: allEpochsOf(run),
    speed: medianOf(run.epochs.slice(-recent), 'imagesPerSecond'),
    secondsLeft: left.length > 0 ? Math.max(...left) : null,
    steps: run.epochs.map(({ step }) => step),
    ...(Object.fromEntries(figures.map((figure) => [figure, points(figure)])) as Record<Figure, Point[]>),
  };
}

/** How many epochs say how fast a run is now. */
const recent = 5;

function secondsLeft(run: Run, writtenAt: number, now: number): number | null {
  const [all, each] = [allEpochsOf(run), medianOf(run.epochs.slice(-recent), 'seconds')];
  if (run.status !== 'running' || all === null || each === null) return null;
  const since = Math.max(0, now - writtenAt) / 1000;
  return Math.max(0, (all - (run.epochs.at(-1)?.epoch ?? 0)) * each - since);
}

function allEpochsOf({ config }: Run): number | null {
  return typeof config.epochs === 'number' ? config.epochs : null;
}

function medianOf(epochs: readonly EpochRecord[], figure: 'seconds' | 'imagesPerSecond'): number | null {
  const values = epochs
    .map((epoch) => epoch[figure])
    .filter((value) => value !== null)
    .sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)] ?? null;
}

/** Of a run whose log has its configuration at most. */
function startingCurve(text: string, dir: string): Curve {
  let config: Record<string, unknown> = {};
  try {
    config = Object(JSON.parse(text.split('\n', 1)[0] ?? ''));
  } catch {
    // The line is being written.
  }
  const none = Object.fromEntries(figures.map((figure) => [figure, []])) as unknown as Record<Figure, Point[]>;
  return {
    label: `${labelOf(config) ?? 'a run'} (${dir})`,
    status: text.includes('"type":"end"') ? 'interrupted' : 'starting',
    seeds: 1,
    epochs: 0,
    allEpochs: typeof config.epochs === 'number' ? config.epochs : null,
    speed: null,
    secondsLeft: null,
    steps: [],
    ...none,
  };
}

/** The files of the page. Charts are drawn by the same library as the report's. */
const require = createRequire(import.meta.url);
const files: Readonly<Record<string, { url: URL | string; type: string }>> = {
  '/': { url: new URL('./watch/index.html', import.meta.url), type: 'text/html' },
  '/watch.css': { url: new URL('./watch/watch.css', import.meta.url), type: 'text/css' },
  '/watch.js': { url: new URL('./watch/watch.js', import.meta.url), type: 'text/javascript' },
  '/echarts.js': { url: require.resolve('echarts/dist/echarts.min.js'), type: 'text/javascript' },
};

/** What a page of ours may do: nothing but to load what is here. Charts set styles of their own. */
const policy =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/** A page that is being served. */
export interface Watch {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Serves a page on this machine alone that follows runs as they train.
 *
 * @param port 0 for any that is free
 * @throws KalmanNormError `INVALID_ARGUMENT` where the port is taken or not ours to take
 */
export async function watchRuns(dirs: readonly string[], port: number): Promise<Watch> {
  const server = createServer((request, response) => {
    answer(dirs, request, response).catch((error: Error) => {
      console.error(`report: ${request.url}: ${error.message}`);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  await listening(server, port);
  const address = server.address();
  return {
    url: `http://localhost:${typeof address === 'object' && address ? address.port : port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listening(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'another program has it' : error.message;
      reject(
        new KalmanNormError('INVALID_ARGUMENT', `--port: ${port} can't be used, ${why}; 0 takes any`, { cause: error }),
      );
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

async function answer(dirs: readonly string[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  const send = (status: number, type: string, body: string) => {
    const headers = { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': policy };
    response.writeHead(status, { ...headers, 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  // A page of somebody else's whose name leads here must not read the runs.
  if (!/^(localhost|127\.0\.0\.1)(:\d+)?$/.test(request.headers.host ?? '')) return send(403, 'text/plain', 'not here');
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(405, 'text/plain', 'GET only');
  if (pathname === '/runs.json') return send(200, 'application/json', JSON.stringify(await readCurves(dirs)));
  const file = Object.hasOwn(files, pathname) ? files[pathname] : undefined;
  if (!file) return send(404, 'text/plain', 'there is no such page');
  return send(200, file.type, await readFile(file.url, 'utf8'));
}
