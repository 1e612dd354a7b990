import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';
import type { Moments } from './moments.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** Row r of the result has the vectors of rank r, one behind the other. `group`: what a process group calls its collective. */
    allGather(args: { parts: readonly Handle[]; group: object }): Handle;
  }
}

/** What a layer needs to know of a {@link ProcessGroup}. */
export interface StatisticsGroup {
  /** How many processes there are. */
  readonly size: number;
  /** What exchanges values within a device's stream. @internal */
  readonly collective?: object;
}

/**
 * Mean and biased variance, [C] each, of every channel over the samples and pixels that all processes have together. The
 * processes exchange theirs within the device's stream, in both passes; each must have as many samples as the others.
 *
 * @param x [N, C, H, W] or [N, C], the samples of this process; moments that are known already are used
 * @param group the collective of a process group
 * @internal
 */
export function syncMoments(x: Tensor, group: object): Moments {
  const known = x.moments?.splits === 1 ? x.moments : null;
  const { mean, variance } = differentiable({
    name: 'syncMoments',
    inputs: { x },
    forward(inputs) {
      const own = known
        ? { mean: known.mean.handle.share(), var: known.variance.handle.share() }
        : native.moments({ ...inputs, splits: 1 });
      // Chan's formula for parts of one size: the variance is the mean of those within parts, and that of their means.
      const { means, variances } = overProcesses([own.mean, own.var], group);
      const [mean, within, between] = [means[0], means[1], variances[0]] as [Handle, Handle, Handle];
      const variance = native.add({ a: within, b: between });
      for (const used of [own.mean, own.var, within, between, variances[1] as Handle]) used.dispose();
      return { mean, variance };
    },
    outputs: ['mean', 'variance'],
    save: ({ x }, { mean }) => ({ x, mean }),
    backward({ saved, grads, orZeros }) {
      const own = [orZeros(grads.mean, saved.mean), orZeros(grads.variance, saved.mean)];
      const { means, variances } = overProcesses(own, group);
      // Sums over K processes, by N samples in each: means, by N.
      const [dmean, dvar] = means as [Handle, Handle];
      const dx = native.momentsBackward({ ...saved, splits: 1, dmean, dvar });
      for (const used of [...means, ...variances]) used.dispose();
      return { x: dx };
    },
  });
  return { mean, variance };
}

/** Means and variances over the processes of each value of some vectors of C values; the same bits in all processes. */
function overProcesses(parts: readonly Handle[], group: object): { means: Handle[]; variances: Handle[] } {
  const rows = native.allGather({ parts, group });
  const both = native.moments({ x: rows, splits: 1 });
  const count = (parts[0] as Handle).shape[0] as number;
  const cut = (vector: Handle) => parts.map((_, i) => vector.samples(i * count, count));
  const result = { means: cut(both.mean), variances: cut(both.var) };
  for (const used of [rows, both.mean, both.var]) used.dispose();
  return result;
}
