import { createHash } from 'node:crypto';
import { type GradientPortions, noGrad } from '../autograd.js';
import type { ProcessGroup } from '../distributed/group.js';
import { check } from '../errors.js';
import type { Module } from '../nn/module.js';
import { SyncBatchNorm2d } from '../nn/sync-batch-norm.js';
import { scale } from '../ops/elementwise.js';
import type { Loss } from '../ops/loss.js';
import type { Optimizer } from '../optim/optimizer.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import type { BatchFigures } from './history.js';

/** Values that are reduced in one call at most: 25 MiB, as in PyTorch's DistributedDataParallel. */
const LARGEST_BUCKET = (25 * 2 ** 20) / 4;
/** In how many buckets gradients travel at least: what the backward pass ends with has nothing to hide behind. */
const BUCKETS = 4;

/**
 * What the processes of a group tell each other while they train: means of gradients, loss and errors of each batch, and
 * whether all of them stand where they should.
 *
 * @internal
 */
export class DataParallel {
  /** For the backward pass of a step: buckets of gradients, which go on their way as they become full. */
  readonly portions: GradientPortions;
  /** Of the whole batch, from one exchange to the next. */
  private readonly figures: Loss;
  /** How many processes want to end, where the device adds them up. */
  private readonly stops: Tensor;

  constructor(
    readonly group: ProcessGroup,
    device: Device,
    private readonly model: Module,
    optimizer: Optimizer,
  ) {
    this.figures = noScope(() => ({ loss: device.zeros([1]), errors: device.zeros([1]) }));
    this.stops = noScope(() => device.zeros([1]));
    const trained = new Set(optimizer.parameters());
    const values = [...trained].reduce((sum, { size }) => sum + size, 0);
    this.portions = {
      size: Math.ceil(Math.min(LARGEST_BUCKET, values / BUCKETS)),
      ready: (leaves) => this.send(leaves.filter((leaf) => trained.has(leaf))),
    };
    for (const module of model.modules()) if (module instanceof SyncBatchNorm2d) module.group ??= group;
  }

  /** Tells, before a step, whether this process wants to end. */
  announce(stop: boolean): void {
    this.stops.write(Float32Array.of(stop ? 1 : 0));
  }

  /**
   * Ends a step's exchange: what is enqueued from now on finds the means of all gradients.
   *
   * @param own figures of this process's part of a batch
   * @returns those of the whole batch
   */
  end(own: Loss): Loss {
    const { loss, errors } = this.figures;
    noGrad(() => loss.copyFrom(scale(own.loss, 1 / this.group.size)));
    errors.copyFrom(own.errors);
    this.group.startAllReduce([loss, errors, this.stops], 'sum');
    this.group.joinAllReduces();
    return this.figures;
  }

  /** What has come of a step: the batch's loss, and whether any process wants to end; the same in all. */
  async outcome(): Promise<{ loss: number; stop: boolean }> {
    const read = Promise.all([this.figures.loss.data(), this.stops.data()]);
    const [[loss = Number.NaN], [stops = 0]] = await this.group.watch(read);
    return { loss, stop: stops > 0 };
  }

  /** Running averages and the filter's state become their means over the processes. */
  async averageStatistics(): Promise<void> {
    const buffers = this.statistics();
    if (buffers.length === 0) return;
    this.group.enqueueAllReduce(buffers, 'mean');
    await this.group.watch((buffers[0] as Tensor).device.synchronize());
  }

  /** Runs `body` with rank 0's running averages and filters in all processes; afterwards each has its own. */
  async withFirstStatistics<T>(body: () => Promise<T>): Promise<T> {
    const buffers = this.statistics();
    const own = (await Promise.all(buffers.map((buffer) => buffer.data()))) as Float32Array[];
    const first = flat(own);
    if (first.length > 0) await this.group.broadcast(first);
    if (this.group.rank === 0) return body();
    try {
      writeFlat(buffers, first);
      return await body();
    } finally {
      for (const [i, buffer] of buffers.entries()) buffer.write(own[i] as Float32Array);
    }
  }

  /**
   * The figures of whole batches from those of their parts.
   *
   * @param figures of as many parts as this process has done
   * @param parts samples that each batch has here
   * @param sizes samples that each batch has in all processes together
   * @returns those of the batches that all processes have done, from the first on
   */
  async wholeBatches(
    figures: readonly BatchFigures[],
    parts: readonly number[],
    sizes: readonly number[],
  ): Promise<BatchFigures[]> {
    const sums = new Float32Array(3 * sizes.length);
    for (const [i, { loss, errors }] of figures.entries()) {
      const part = parts[i] as number;
      sums.set([(loss * part) / (sizes[i] as number), errors, part], 3 * i);
    }
    await this.group.allReduce(sums);
    const done = sizes.findIndex((size, i) => sums[3 * i + 2] !== size);
    return Array.from({ length: done < 0 ? sizes.length : done }, (_, i) => ({
      loss: sums[3 * i] as number,
      errors: sums[3 * i + 1] as number,
    }));
  }

  /**
   * Refuses processes that would train something else, or from other weights.
   *
   * @param settings of the training; the names and values of all parameters are compared, too
   * @throws KalmanNormError `GROUP_FAILED` naming the ranks, on every rank
   */
  async agree(settings: object): Promise<void> {
    const state = await this.model.stateValues();
    const weights = createHash('sha256');
    const names = this.model.namedParameters();
    for (const name of names.keys()) {
      const { shape, data } = state.get(name) as { shape: readonly number[]; data: Float32Array };
      weights.update(`${name} ${shape} `).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    const own = { settings: createHash('sha256').update(JSON.stringify(settings)).digest(), weights: weights.digest() };
    for (const [what, digest] of Object.entries(own)) {
      const all = await this.group.allGather(digest);
      const others = all.flatMap((other, rank) => (digest.compare(other) === 0 ? [] : [rank]));
      check(
        others.length === 0,
        'GROUP_FAILED',
        `Trainer: rank ${this.group.rank} has other ${what} than ${others.length === 1 ? 'rank' : 'ranks'} ${others.join(', ')}`,
      );
    }
  }

  dispose(): void {
    this.figures.loss.dispose();
    this.figures.errors.dispose();
    this.stops.dispose();
  }

  private send(parameters: readonly Tensor[]): void {
    const gradients: Tensor[] = [];
    for (const parameter of parameters) {
      const { grad } = parameter;
      if (!grad) continue;
      // What it shares its memory with, as the gradient of a sum does, may have readers still.
      if (grad.handle.shared) parameter.grad = noScope(() => noGrad(() => scale(grad, 1)));
      gradients.push(parameter.grad as Tensor);
    }
    this.group.startAllReduce(gradients, 'mean');
  }

  /** Running averages and the filter's state. */
  private statistics(): Tensor[] {
    return [...this.model.namedBuffers().values()].filter(({ dtype }) => dtype === 'float32');
  }
}

/** Arrays, one behind the other. */
function flat(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const array of arrays) {
    all.set(array, place);
    place += array.length;
  }
  return all;
}

/** Overwrites tensors with values that lie one behind the other. */
function writeFlat(tensors: readonly Tensor[], values: Float32Array): void {
  let place = 0;
  for (const tensor of tensors) {
    tensor.write(values.subarray(place, place + tensor.size));
    place += tensor.size;
  }
}
