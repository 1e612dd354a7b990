import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice, type Precision, relu, scope } from '../../lib/index.js';
import type { Method } from '../support/methods.js';
import { TrainingStep } from '../support/training-step.js';
import { type Traffic, trafficOf } from './traffic.js';

/** What a step costs a CUDA device, whichever GPU it is. */
export interface Cost {
  /** Launches by kernel; a library's call counts as one. */
  launches: Readonly<Record<string, number>>;
  /** Most launches that wait for each other; others are branches beside them. */
  inARow: number;
  traffic: readonly Traffic[];
}

/** A training step, as its cost depends on it. */
export interface CostedStep {
  method: Method;
  /** Blocks a stage; the network has 6n + 2 layers. */
  n: number;
  precision: Precision;
  batch: number;
  /** Also launches a ReLU, for the test that such a thing is noticed. */
  extra?: boolean;
}

/** Sums of a cost. */
export function totals({ launches, inARow, traffic }: Cost) {
  const sum = (key: 'needed' | 'moved' | 'operations') => traffic.reduce((total, entry) => total + entry[key], 0);
  return {
    launches: Object.values(launches).reduce((total, count) => total + count, 0),
    inARow,
    needed: sum('needed'),
    moved: sum('moved'),
    operations: sum('operations'),
  };
}

/** Records a training step on the emulated device, which runs nothing of it, and reads the recorded graph. */
export async function costOf({ method, n, precision, batch, extra = false }: CostedStep): Promise<Cost> {
  const folder = mkdtempSync(join(tmpdir(), 'kalman-norm-'));
  const graph = join(folder, 'step.dot');
  const settings = { KN_EMULATION_IDLE: '1', KN_DEBUG_POISON: '0', KN_DEBUG_GRAPH: graph };
  const before = Object.keys(settings).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, settings);
  try {
    await using device = openDevice('cuda-emulated', { precision });
    const step = new TrainingStep(device, { n, norm: method.norm, batch, size: 32, eager: true });
    const work = () => {
      step.enqueue(1);
      if (extra) scope(() => relu(device.ones([1])));
    };
    // As everywhere, a step by itself comes first; idle, it takes no time.
    work();
    const short = precision === 'bf16' || precision === 'fp16';
    const traffic = trafficOf(() => device.record(work).program.dispose(), short);
    step.dispose();
    const dot = readFileSync(graph, 'utf8');
    return { launches: kernelsOf(dot), inARow: longestRow(dot), traffic };
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    rmSync(folder, { recursive: true });
  }
}

/** How often each kernel stands in a graph, without its namespace and the arguments of its template. */
function kernelsOf(dot: string): Record<string, number> {
  const counts = new Map<string, number>();
  for (const [, label = ''] of dot.matchAll(/\[label="(.*)"\]/g)) {
    const name = label
      .replace(/^void /, '')
      .replace(/<.*/, '')
      .replace(/^.*::/, '');
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Launches on the longest way through a graph, whose nodes are numbered from the first on. */
function longestRow(dot: string): number {
  const before = new Map<number, number[]>();
  for (const [, from, to] of dot.matchAll(/(\d+) -> (\d+)/g)) {
    before.set(Number(to), [...(before.get(Number(to)) ?? []), Number(from)]);
  }
  const rows: number[] = [];
  for (const [, node] of dot.matchAll(/(\d+) \[label=/g)) {
    rows[Number(node)] = 1 + Math.max(0, ...(before.get(Number(node)) ?? []).map((other) => rows[other] as number));
  }
  return Math.max(0, ...rows);
}
