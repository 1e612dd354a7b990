import { readFileSync } from 'node:fs';
import { type Method, methods } from '../support/methods.js';
import { type Cost, totals } from './cost.js';

/** Images of the steps whose cost is counted. */
export const batch = 128;

const { batchNorm, splitBatchNorm, kalmanSampled, kalmanAnalytic } = methods(batch);
const splits = batch / 2;

/** Their normalizations. */
export const costed: readonly Method[] = [
  batchNorm,
  splitBatchNorm,
  { name: `kn S=${splits}`, norm: { type: 'kalman', splits } },
  { name: `kn observed S=${splits}`, norm: { type: 'kalman', splits, transitionGradient: 'observed' } },
  { ...kalmanSampled, name: `reference kn sampled S=${splits}` },
  { ...kalmanAnalytic, name: `reference kn analytic S=${splits}` },
];

/** Launches by kernel and bytes by operation: what a step may cost, of n = 5 in bf16. */
export interface Budget {
  launches: Readonly<Record<string, number>>;
  /** See {@link Cost.inARow}. */
  inARow: number;
  bytes: Readonly<Record<string, number>>;
}

/** The committed budgets by the method's name; `npm run gpu:predict -- --write-budget` writes them. */
export const budgetFile = new URL('budget.json', import.meta.url);

export function readBudgets(): Record<string, Budget> {
  return JSON.parse(readFileSync(budgetFile, 'utf8')) as Record<string, Budget>;
}

/** The budget that a step just meets. */
export function budgetOf({ launches, inARow, traffic }: Cost): Budget {
  return { launches, inARow, bytes: Object.fromEntries(traffic.map(({ name, moved }) => [name, moved])) };
}

/** What a step costs more, or less, than its budget, a line for each kind; empty where it is met exactly. */
export function deviations(found: Budget, budget: Budget): string[] {
  const compare = (name: string, is: number, may: number, kind: string) =>
    is === may ? [] : [`${name}: ${is} ${kind}, ${is > may ? 'over' : 'below'} its budget of ${may}`];
  const kinds = (['launches', 'bytes'] as const).flatMap((kind) => {
    const names = new Set([...Object.keys(budget[kind]), ...Object.keys(found[kind])]);
    return [...names].flatMap((name) => compare(name, found[kind][name] ?? 0, budget[kind][name] ?? 0, kind));
  });
  return [...kinds, ...compare('a step', found.inARow, budget.inARow, 'launches in a row')];
}

/** What the predictions are made of: the maker's figures of an H100 SXM, and the shares of them that such kernels reach. */
const gpu = {
  bandwidth: 3.35e12,
  /** cuDNN's normalizations reach 0.71 to 0.80 on tensors of 100 MB, less on small ones; most here are 2 to 8 MB. */
  bandwidthShare: 0.6,
  fp32: 67e12,
  tensor: 990e12,
  /** Of the peak, for 3 x 3 convolutions of 16 to 64 channels; a guess. */
  convolutionShare: { fp32: 0.5, bf16: 0.1 },
  /** Seconds from the end of a kernel to the beginning of its work's next one, in a graph; a guess. */
  gap: 1.5e-6,
  /** Seconds of a launch from the host. */
  launch: 5e-6,
};

/**
 * Seconds of a step, replayed and eager. Work adds up, as branches share the GPU; so do the gaps between launches that
 * wait for each other.
 */
export function predict(cost: Cost, precision: 'fp32' | 'bf16'): { replayed: number; eager: number } {
  const peak = precision === 'fp32' ? gpu.fp32 : gpu.tensor;
  const work = cost.traffic.reduce((sum, { moved, operations }) => {
    const memory = moved / (gpu.bandwidth * gpu.bandwidthShare);
    return sum + Math.max(memory, operations / (peak * gpu.convolutionShare[precision]));
  }, 0);
  const { launches, inARow } = totals(cost);
  const replayed = work + inARow * gpu.gap;
  return { replayed, eager: Math.max(replayed, launches * gpu.launch) };
}
