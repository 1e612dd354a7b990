import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { type Device, Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';
import type { Moments } from './moments.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** Row r of the result has the vectors of rank r, one behind the other. `group`: a {@link ProcessGroup}'s `collective`. */
    allGather(args: { parts: readonly Handle[]; group: object }): Handle;
  }
}

/** What a layer needs of a {@link ProcessGroup}, to exchange values within a device's stream. */
export interface StatisticsGroup {
  readonly rank: number;
  /** How many processes there are. */
  readonly size: number;
  /** With Gloo. @internal */
  readonly collective?: object;
  enqueueAllReduce(tensors: readonly Tensor[], operation: 'sum'): void;
}

/**
 * Mean and biased variance, [C] each, of every channel over the samples and pixels that all processes have together. The
 * processes exchange theirs within the device's stream, in both passes; each must have as many samples as the others.
 *
 * @param x [N, C, H, W] or [N, C], the samples of this process; moments that are known already are used
 * @internal
 */
export function syncMoments(x: Tensor, group: StatisticsGroup): Moments {
  const { device } = x;
  const known = x.moments?.splits === 1 ? x.moments : null;
  const { mean, variance } = differentiable({
    name: 'syncMoments',
    inputs: { x },
    forward(inputs) {
      const own = known
        ? { mean: known.mean.handle.share(), var: known.variance.handle.share() }
        : native.moments({ ...inputs, splits: 1 });
      // Chan's formula for parts of one size: the variance is the mean of those within parts, and that of their means.
      const { means, variances } = overProcesses([own.mean, own.var], group, device);
      const [mean, within, between] = [means[0], means[1], variances[0]] as [Handle, Handle, Handle];
      const variance = native.add({ a: within, b: between });
      for (const used of [own.mean, own.var, within, between, variances[1] as Handle]) used.dispose();
      return { mean, variance };
    },
    outputs: ['mean', 'variance'],
    save: ({ x }, { mean }) => ({ x, mean }),
    backward({ saved, grads, orZeros }) {
      const own = [orZeros(grads.mean, saved.mean), orZeros(grads.variance, saved.mean)];
      const { means, variances } = overProcesses(own, group, device);
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
function overProcesses(
  parts: readonly Handle[],
  group: StatisticsGroup,
  device: Device,
): { means: Handle[]; variances: Handle[] } {
  const rows = group.collective
    ? native.allGather({ parts, group: group.collective })
    : sumOfRows(parts, group, device);
  const both = native.moments({ x: rows, splits: 1 });
  const count = (parts[0] as Handle).shape[0] as number;
  const cut = (vector: Handle) => parts.map((_, i) => vector.samples(i * count, count));
  const result = { means: cut(both.mean), variances: cut(both.var) };
  for (const used of [rows, both.mean, both.var]) used.dispose();
  return result;
}

/** As the native allGather, by a sum in which every process has zeros in place of the others' rows: exact. */
function sumOfRows(parts: readonly Handle[], group: StatisticsGroup, device: Device): Handle {
  const count = (parts[0] as Handle).shape[0] as number;
  const shape = [group.size, parts.length * count];
  const rows = native.full({ device: device.native, shape, dtype: 'float32', format: 'plain', value: 0 });
  for (const [i, tensor] of parts.entries()) {
    const part = native.reshape({ tensor, shape: [1, count], format: 'plain' });
    native.place({ part, into: rows, starts: [group.rank, i * count] });
    part.dispose();
  }
  const tensor = new Tensor(device, rows.share());
  group.enqueueAllReduce([tensor], 'sum');
  tensor.dispose();
  return rows;
}
