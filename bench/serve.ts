/** `npm run bench:serve`: our example service under load, with this library and with onnxruntime-node in turns. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { CifarResNet, exportOnnx, KalmanNormError, openDevice, saveModel } from '../lib/index.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { parseServeArguments, type ServeArguments, serveUsage } from './serve/arguments.js';
import { compareLibrary, type LibraryResult } from './serve/library.js';
import { Server, type Turn } from './serve/load.js';
import { onnxRuntimeVersion } from './serve/onnx-model.js';
import { describeMachine, inspectMachine } from './support/machine.js';
import { type Comparison, compare, median } from './support/statistics.js';
import { digits, renderTable } from './support/table.js';

const OURS = 'kalman-norm';
const THEIRS = 'onnxruntime-node';
/** The same service without a network: what HTTP, decoding and the load itself cost. */
const IDLE = 'no network';

/** One sample at a time, or those together that wait. */
interface Part {
  readonly name: string;
  readonly maxBatch: number;
  readonly connections: number;
}

async function main(): Promise<void> {
  const options = parseServeArguments(process.argv.slice(2), process.env);
  if (!options) return console.log(serveUsage);
  using device = openDevice('cpu', { threads: options.threads });
  const machine = inspectMachine(device, { benchmark: false });
  console.log(describeMachine(machine));
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-bench-'));
  try {
    const files = { model: join(folder, 'model.safetensors'), onnx: join(folder, 'model.onnx') };
    const input = { channels: 3, height: 32, width: 32 };
    using net = new CifarResNet(device, { n: options.n, norm: { type: 'kalman' }, seed: 1 });
    await saveModel(files.model, net.eval(), { input, normalization: { mean: [125, 123, 114], scale: 1 / 64 } });
    await exportOnnx(files.onnx, net, { input });
    const results = options.library
      ? await compareLibrary(device, options, folder, findPeer(options.peer) ? options.peer : null, showLibrary)
      : options.minutes > 0
        ? await soak(options, files.model)
        : await comparison(options, files);
    if (options.json) await writeFileAtomic(options.json, JSON.stringify({ machine, options, results }, null, 2));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function showLibrary({ name, milliseconds, comparison }: LibraryResult): void {
  const [first, second] = milliseconds.map(digits);
  const { ratio, low, high } = comparison;
  console.log(`${name}: ${digits(ratio)} (95 %: ${digits(low)} – ${digits(high)}); ${first} and ${second} ms`);
}

/** A picture of some kilobytes with slopes and details, the same at each run. */
function picture(): Promise<Buffer> {
  const [width, height] = [320, 240];
  const raw = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    const detail = (Math.imul((y >> 3) * width + (x >> 3) + 1, 0x9e3779b1) >>> 26) & 63;
    return (x >> 1) + (i % 3) * 10 + detail;
  });
  return sharp(raw, { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer();
}

async function comparison(options: ServeArguments, files: { model: string; onnx: string }) {
  const { connections, rounds, seconds, threads, peer } = options;
  const peerVersion = findPeer(peer);
  const names = [OURS, ...(peerVersion ? [THEIRS] : []), IDLE];
  const parts: Part[] = [
    { name: 'one sample at a time', maxBatch: 1, connections: Math.min(8, connections) },
    { name: 'batches of up to 16', maxBatch: 16, connections },
  ];
  const image = await picture();
  const results = [];
  for (const part of parts) {
    const servers = await Promise.all(
      names.map((name) => {
        const onnx = name === THEIRS ? { path: files.onnx, folder: peer } : null;
        return Server.start({ model: files.model, onnx, idle: name === IDLE, threads, maxBatch: part.maxBatch });
      }),
    );
    const turns: Turn[][] = names.map(() => []);
    try {
      // Caches, programs of all batch sizes, compiled code.
      for (const server of servers) await server.load(image, part.connections, Math.min(seconds, 3));
      for (let round = 0; round < rounds; round++) {
        for (const [i, server] of servers.entries()) {
          turns[i]?.push(await server.load(image, part.connections, seconds));
        }
      }
    } finally {
      for (const server of servers) await server.stop();
    }
    results.push({ ...part, servers: names.map((name, i) => ({ name, turns: turns[i] as Turn[] })) });
    show(part, names, turns);
  }
  return { peer: peerVersion, parts: results };
}

/** The peer's version, or null and why there is none. */
function findPeer(folder: string): string | null {
  try {
    const version = onnxRuntimeVersion(folder);
    console.log(`${THEIRS} ${version}`);
    return version;
  } catch {
    const install = `npm install --prefix ${folder} --ignore-scripts ${THEIRS}@1.30.0`;
    console.log(`${THEIRS} is missing, and left out. It takes 290 MB: ${install}`);
    return null;
  }
}

const MIB = 2 ** 20;

function show({ name, connections }: Part, names: readonly string[], turns: readonly Turn[][]): void {
  console.log(`\n${name}, ${connections} connections`);
  const of = (i: number, key: keyof Turn) => (turns[i] as Turn[]).map((turn) => turn[key]);
  const rows = names.map((server, i) => {
    const rss = of(i, 'rssBytes').map((bytes) => bytes / MIB);
    return [
      server,
      ...(['rate', 'p50', 'p99', 'delayP99'] as const).map((key) => digits(median(of(i, key)))),
      digits(Math.max(...of(i, 'delayMax'))),
      `${digits(rss[0] as number)} – ${digits(rss.at(-1) as number)}`,
    ];
  });
  const heads = ['', 'answers/s', 'p50 ms', 'p99 ms', 'loop delay p99 ms', 'at most', 'RSS MiB, first – last turn'];
  console.log(renderTable(heads, rows));
  if (!names.includes(THEIRS)) return;
  const ratio = (key: 'rate' | 'p50' | 'p99' | 'delayP99') => compare(of(0, key), of(1, key));
  const line = (label: string, { ratio, p25, p75, low, high }: Comparison) => [
    label,
    digits(ratio),
    `${digits(p25)} – ${digits(p75)}`,
    `${digits(low)} – ${digits(high)}`,
  ];
  console.log(
    renderTable(
      [`${OURS} / ${THEIRS}`, 'ratio', 'p25 – p75 of rounds', '95 %'],
      [
        line('answers in a second', ratio('rate')),
        line('p50', ratio('p50')),
        line('p99', ratio('p99')),
        line('event-loop delay, p99', ratio('delayP99')),
      ],
    ),
  );
}

/** Load for minutes: whether memory grows. */
async function soak({ minutes, connections, threads }: ServeArguments, model: string) {
  const server = await Server.start({ model, onnx: null, idle: false, threads, maxBatch: 16 });
  const image = await picture();
  const turns: Turn[] = [];
  try {
    const seconds = Math.max(1, Math.min(10, Math.round(minutes * 6)));
    for (const end = Date.now() + minutes * 60_000; Date.now() < end; ) {
      turns.push(await server.load(image, connections, seconds));
      const { rate, rssBytes, heapBytes } = turns.at(-1) as Turn;
      const [all, heap] = [rssBytes / MIB, heapBytes / MIB].map(digits);
      console.log(`${digits(rate)} answers/s, ${all} MiB, of which V8's heap has ${heap}`);
    }
    // The first half settles: compiled code, pools, the heap's size.
    const settled = turns.slice(turns.length >> 1);
    const slopeOf = (bytes: (turn: Turn) => number) => leastSquares(settled.map(bytes)) * (60 / seconds / MIB);
    const slope = slopeOf(({ rssBytes }) => rssBytes);
    const beside = slopeOf(({ rssBytes, heapBytes }) => rssBytes - heapBytes);
    const [first, last] = [turns[0], turns.at(-1)].map((turn) => digits((turn as Turn).rssBytes / MIB));
    console.log(`\nRSS ${first} MiB after the first turn, ${last} MiB after the last`);
    console.log(`slope over the second half: ${slope.toFixed(3)} MiB a minute; without V8's heap ${beside.toFixed(3)}`);
    return { turns, slope, beside };
  } finally {
    await server.stop();
  }
}

/** Slope of the line through values that are a step apart. */
function leastSquares(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const rise = values.reduce((sum, value, i) => sum + (i - middle) * (value - mean), 0);
  const run = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0);
  return run > 0 ? rise / run : 0;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof KalmanNormError)) throw error;
  console.error(`bench:serve: ${error.message}`);
  process.exitCode = 1;
}
