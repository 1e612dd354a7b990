import { createHash } from 'node:crypto';
import type { ProcessGroup } from '../distributed/group.js';
import { check } from '../errors.js';
import type { Module } from '../nn/module.js';
import { SyncBatchNorm2d } from '../nn/sync-batch-norm.js';
import type { Loss } from '../ops/loss.js';
import type { Optimizer } from '../optim/optimizer.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import type { BatchFigures } from './history.js';

/** Values that are reduced in one call: 25 MiB, as in PyTorch's DistributedDataParallel. */
const BUCKET = (25 * 2 ** 20) / 4;

/**
 * What the processes of a group tell each other while they train: means of gradients, loss and errors of each batch, and
 * whether all of them stand where they should.
 *
 * @internal
 */
export class DataParallel {
  /** Of the whole batch, from one exchange to the next. */
  readonly figures: Loss;
  /** Whether the exchange is work of the device, a part of the recorded step. */
  readonly onDevice: boolean;
  /** How many processes want to end, where the device adds them up. */
  private readonly stops: Tensor;

  constructor(
    readonly group: ProcessGroup,
    device: Device,
    private readonly model: Module,
    private readonly optimizer: Optimizer,
  ) {
    this.onDevice = group.device === device;
    this.figures = noScope(() => ({ loss: device.zeros([1]), errors: device.zeros([1]) }));
    this.stops = noScope(() => device.zeros([1]));
    for (const module of model.modules()) if (module instanceof SyncBatchNorm2d) module.group ??= group;
  }

  /** Keeps the figures of this process's part of a batch, for the exchange. */
  note({ loss, errors }: Loss): void {
    this.figures.loss.copyFrom(loss);
    this.figures.errors.copyFrom(errors);
  }

  /** The exchange on the device: enqueues it between a step's gradients and its update. */
  enqueueExchange(): void {
    const { loss, errors } = this.figures;
    this.group.enqueueAllReduce([...this.optimizer.parameters().map(({ grad }) => grad as Tensor), loss], 'mean');
    this.group.enqueueAllReduce([errors, this.stops], 'sum');
  }

  /** Tells, before a step whose exchange is the device's, whether this process wants to end. */
  announce(stop: boolean): void {
    this.stops.write(Float32Array.of(stop ? 1 : 0));
  }

  /** What has come of the exchange on the device; as {@link DataParallel.exchange} */
  async outcome(): Promise<{ loss: number; stop: boolean }> {
    const read = Promise.all([this.figures.loss.data(), this.stops.data()]);
    const [[loss = Number.NaN], [stops = 0]] = await this.group.watch(read);
    return { loss, stop: stops > 0 };
  }

  /**
   * Overwrites all gradients with their means over the processes, and the figures with those of the whole batch. The
   * gradients of the last layers, which are there first, go first; while a bucket is on its way, the next is read.
   *
   * @param stop whether this process wants to end
   * @returns the batch's loss, and whether any process wants to end: the same in all
   */
  async exchange(stop: boolean): Promise<{ loss: number; stop: boolean }> {
    const { loss, errors } = this.figures;
    const gradients = this.optimizer.parameters().map(({ grad }) => grad as Tensor);
    const sums = Promise.all([loss.data(), errors.data()]).then(async ([losses, counts]) => {
      const values = Float32Array.of(losses[0] as number, counts[0] as number, stop ? 1 : 0);
      await this.group.allReduce(values);
      return values;
    });
    const buckets = bucketsOf(gradients.reverse()).map((members) => this.reduce(members, sums));
    // The step that is read may have waited for others' statistics.
    const [[lossSum = 0, errorSum = 0, stops = 0]] = await this.group.watch(Promise.all([sums, ...buckets]));
    const mean = Math.fround(lossSum / this.group.size);
    loss.write(Float32Array.of(mean));
    errors.write(Float32Array.of(errorSum));
    return { loss: mean, stop: stops > 0 };
  }

  /** Running averages and the filter's state become their means over the processes. */
  async averageStatistics(): Promise<void> {
    const buffers = this.statistics();
    if (buffers.length === 0) return;
    if (!this.onDevice) return this.reduce(buffers, Promise.resolve());
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

  /** Running averages and the filter's state. */
  private statistics(): Tensor[] {
    return [...this.model.namedBuffers().values()].filter(({ dtype }) => dtype === 'float32');
  }

  /** Overwrites tensors with their means over the processes, after what is to be sent before. */
  private async reduce(tensors: readonly Tensor[], before: Promise<unknown>): Promise<void> {
    const bucket = flat((await Promise.all(tensors.map((tensor) => tensor.data()))) as Float32Array[]);
    await before;
    await this.group.allReduce(bucket, 'mean');
    writeFlat(tensors, bucket);
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

/** Tensors in their order, in lists of about {@link BUCKET} values. */
function bucketsOf(tensors: readonly Tensor[]): Tensor[][] {
  const buckets: Tensor[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    if (buckets.length === 0 || room < tensor.size) {
      buckets.push([]);
      room = BUCKET;
    }
    (buckets.at(-1) as Tensor[]).push(tensor);
    room -= tensor.size;
  }
  return buckets;
}
