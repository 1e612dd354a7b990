import type { BatchSource } from '../data/source.js';
import { type GatherOptions, gather } from '../ops/gather.js';
import { samples } from '../ops/memory.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';

/** Options of {@link DeviceImages}. */
export interface DeviceImagesOptions {
  batchSize: number;
  /** Which part of every batch is wanted, where processes share them. Default: all */
  part?: { readonly rank: number; readonly size: number } | undefined;
  /** Factor on images after the mean is subtracted. */
  scale: number;
  /** Bytes of pixels that may lie on the device; at least one batch does. */
  memory: number;
}

/** Memory of the host for pixels and labels of one window after the other. */
interface Landing {
  readonly pixels: Uint8Array;
  readonly labels: Int32Array;
  /** Kept when nobody reads into it, and the device has copied what was read. */
  free: Promise<unknown>;
}

/**
 * Images on a device, in an order that batches follow. Where they all fit they lie there for good, and the order is a
 * list of indices. Otherwise, and where they are others in each epoch, a window of some batches lies there: place p of the
 * order is in row p modulo the window, and the next window is read while the device works, by turns into two places of the
 * host's memory. Where processes share batches, the order is that of this process's images, which alone are read.
 */
export class DeviceImages {
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly mean: Tensor;
  private readonly indices: Tensor;
  private readonly start: Tensor;
  /** Batches of a window; null where everything lies on the device. */
  private readonly window: number | null;
  /** Images of a batch here, and before them in the whole batch. */
  private readonly batchSize: number;
  private readonly first: number;
  private order: Int32Array;
  private epoch: number | undefined;
  private present: number | null = null;
  private next: { number: number; landing: Promise<Landing> } | null = null;
  private readonly landings: [Landing?, Landing?] = [];

  constructor(
    private readonly device: Device,
    private readonly source: BatchSource,
    private readonly options: DeviceImagesOptions,
  ) {
    const { labels, channels, height, width } = source;
    const { batchSize, part: { rank, size } = { rank: 0, size: 1 }, memory } = options;
    this.batchSize = batchSize / size;
    this.first = rank * this.batchSize;
    const count = labels.length;
    const shape = [channels, height, width];
    const bytes = channels * height * width;
    const fits = count * bytes <= memory && !source.varies;
    this.order = this.partOf(Int32Array.from({ length: count }, (_, i) => i));
    this.window = fits ? null : Math.max(1, Math.floor(memory / bytes / this.batchSize));
    const rows = this.window === null ? count : Math.min(this.order.length, this.window * this.batchSize);
    [this.images, this.labels, this.mean, this.indices, this.start] = noScope(() => [
      device.zeros([rows, ...shape], { dtype: 'uint8' }),
      device.zeros([rows], { dtype: 'int32' }),
      device.zeros(shape, { format: 'plain' }),
      device.tensor(this.window === null ? this.order : this.order.map((_, place) => place % rows)),
      device.zeros([1], { dtype: 'int32' }),
    ]) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  }

  /** How many classes there are. */
  get classes(): number {
    return this.source.classNames.length;
  }

  /**
   * Brings what lies on the device for good.
   *
   * @param mean [C, H, W], subtracted from every image
   */
  async load(mean: Float32Array): Promise<void> {
    this.mean.write(mean);
    if (this.window === null) this.bring(await this.read(Int32Array.from(this.source.labels.keys()), this.landing()));
  }

  /**
   * The order of images from now on: a permutation of all, the same in all processes.
   *
   * @param epoch that they are read for
   */
  setOrder(order: Int32Array, epoch: number): void {
    this.order = this.partOf(order);
    this.epoch = epoch;
    this.present = null;
    this.next = null;
    if (this.window === null) this.indices.write(this.order);
  }

  /**
   * Sees to it that a batch lies on the device.
   *
   * @param batch its number in the order
   * @returns how many batches from there on do
   */
  async provide(batch: number): Promise<number> {
    const { window, batchSize, order } = this;
    if (window === null) return Number.POSITIVE_INFINITY;
    const rows = window * batchSize;
    const read = (number: number) => {
      this.landings[number % 2] ??= this.landing();
      return this.read(order.subarray(number * rows, (number + 1) * rows), this.landings[number % 2] as Landing);
    };
    const number = Math.floor(batch / window);
    if (this.present !== number) {
      this.bring(await (this.next?.number === number ? this.next.landing : read(number)));
      this.present = number;
      this.next = null;
      if ((number + 1) * rows < order.length) {
        const next = read(number + 1);
        // Whoever asks for this window gets the failure; nobody may.
        next.catch(() => {});
        this.next = { number: number + 1, landing: next };
      }
    }
    return (number + 1) * window - batch;
  }

  /** Batch number `cursor` (in device memory) of the order. */
  batch(cursor: Tensor, augment: GatherOptions['augment'] | null): { images: Tensor; labels: Tensor } {
    const { batchSize, first, options } = this;
    const changes = augment ? { augment } : {};
    return gather({ ...this.gathered, cursor }, { batchSize, first, scale: options.scale, ...changes });
  }

  /** The images from place `from` of the order, unchanged. */
  range(from: number, count: number): { images: Tensor; labels: Tensor } {
    using indices = samples(this.indices, from, count);
    return gather({ ...this.gathered, indices, cursor: this.start }, { batchSize: count, scale: this.options.scale });
  }

  private get gathered() {
    const { images, labels, mean, indices } = this;
    return { images, labels, mean, indices };
  }

  /** Of an order of all images, those of this process's part of each batch. Then there is no batch that isn't full. */
  private partOf(order: Int32Array): Int32Array {
    const { batchSize: whole } = this.options;
    const { batchSize, first } = this;
    if (batchSize === whole) return order;
    const part = new Int32Array(Math.floor(order.length / whole) * batchSize);
    return part.map((_, i) => order[Math.floor(i / batchSize) * whole + first + (i % batchSize)] as number);
  }

  private landing(): Landing {
    const pixels = this.device.hostBuffer(this.images.size);
    return { pixels, labels: new Int32Array(this.labels.size), free: Promise.resolve() };
  }

  private async read(members: Int32Array, landing: Landing): Promise<Landing> {
    const { source, epoch } = this;
    const turn = landing.free.then(() => source.read(members, landing.pixels, epoch));
    landing.free = turn.catch(() => {});
    await turn;
    for (const [row, i] of members.entries()) landing.labels[row] = source.labels[i] as number;
    return landing;
  }

  private bring(landing: Landing): void {
    this.images.write(landing.pixels);
    this.labels.write(landing.labels);
    // Whoever asks for results gets the failure; the memory is free in any case.
    landing.free = this.device.synchronize().catch(() => {});
  }

  dispose(): void {
    for (const tensor of [this.images, this.labels, this.mean, this.indices, this.start]) tensor.dispose();
  }
}
