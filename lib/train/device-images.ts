import type { BatchSource } from '../data/source.js';
import { type GatherOptions, gather } from '../ops/gather.js';
import { samples } from '../ops/memory.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';

/** Options of {@link DeviceImages}. */
export interface DeviceImagesOptions {
  batchSize: number;
  /** Factor on images after the mean is subtracted. */
  scale: number;
  /** Bytes of pixels that may lie on the device; at least one batch does. */
  memory: number;
}

/** Pixels and labels of a window of the order. */
interface Window {
  pixels: Uint8Array;
  labels: Int32Array;
}

/**
 * Images on a device, in an order that batches follow. Where they all fit they lie there for good, and the order is a
 * list of indices. Otherwise, and where they are others in each epoch, a window of some batches lies there: place p of the order is in row p modulo the window,
 * and the next window is read while the device works.
 */
export class DeviceImages {
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly mean: Tensor;
  private readonly indices: Tensor;
  private readonly start: Tensor;
  /** Batches of a window; null where everything lies on the device. */
  private readonly window: number | null;
  private readonly count: number;
  private order: Int32Array;
  private epoch: number | undefined;
  private present: number | null = null;
  private next: { number: number; window: Promise<Window> } | null = null;

  constructor(
    device: Device,
    private readonly source: BatchSource,
    private readonly options: DeviceImagesOptions,
  ) {
    const { labels, channels, height, width } = source;
    const { batchSize, memory } = options;
    this.count = labels.length;
    const shape = [channels, height, width];
    const bytes = channels * height * width;
    const fits = this.count * bytes <= memory && !source.varies;
    this.window = fits ? null : Math.max(1, Math.floor(memory / bytes / batchSize));
    const rows = this.window === null ? this.count : Math.min(this.count, this.window * batchSize);
    this.order = Int32Array.from({ length: this.count }, (_, i) => i);
    [this.images, this.labels, this.mean, this.indices, this.start] = noScope(() => [
      device.zeros([rows, ...shape], { dtype: 'uint8' }),
      device.zeros([rows], { dtype: 'int32' }),
      device.zeros(shape, { format: 'plain' }),
      device.tensor(this.order.map((i) => i % rows)),
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
    if (this.window === null) this.bring(await this.readWindow(0, this.count));
  }

  /**
   * The order of images from now on: a permutation of all.
   *
   * @param epoch that they are read for
   */
  setOrder(order: Int32Array, epoch: number): void {
    this.order = order;
    this.epoch = epoch;
    this.present = null;
    this.next = null;
    if (this.window === null) this.indices.write(order);
  }

  /**
   * Sees to it that a batch lies on the device.
   *
   * @param batch its number in the order
   * @returns how many batches from there on do
   */
  async provide(batch: number): Promise<number> {
    const { window, options, count } = this;
    if (window === null) return Number.POSITIVE_INFINITY;
    const rows = window * options.batchSize;
    const number = Math.floor(batch / window);
    if (this.present !== number) {
      this.bring(await (this.next?.number === number ? this.next.window : this.readWindow(number, rows)));
      this.present = number;
      this.next = null;
      if ((number + 1) * rows < count) {
        const next = this.readWindow(number + 1, rows);
        // Whoever asks for this window gets the failure; nobody may.
        next.catch(() => {});
        this.next = { number: number + 1, window: next };
      }
    }
    return (number + 1) * window - batch;
  }

  /** Batch number `cursor` (in device memory) of the order. */
  batch(
    batchSize: number,
    cursor: Tensor,
    augment: GatherOptions['augment'] | null,
  ): { images: Tensor; labels: Tensor } {
    return gather({ ...this.gathered, cursor }, { batchSize, scale: this.options.scale, ...(augment && { augment }) });
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

  private async readWindow(number: number, rows: number): Promise<Window> {
    const members = this.order.subarray(number * rows, (number + 1) * rows);
    const pixels = new Uint8Array(this.images.size);
    const labels = new Int32Array(this.labels.size);
    await this.source.read(members, pixels, this.epoch);
    for (const [row, i] of members.entries()) labels[row] = this.source.labels[i] as number;
    return { pixels, labels };
  }

  private bring({ pixels, labels }: Window): void {
    this.images.write(pixels);
    this.labels.write(labels);
  }

  dispose(): void {
    for (const tensor of [this.images, this.labels, this.mean, this.indices, this.start]) tensor.dispose();
  }
}
