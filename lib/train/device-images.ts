import type { Dataset, ImageSet } from '../data/dataset.js';
import type { DeviceRandom } from '../device-random.js';
import { gather } from '../ops/gather.js';
import { samples } from '../ops/memory.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';

/** Images on a device, in an order that batches follow. */
export class DeviceImages {
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly mean: Tensor;
  private readonly indices: Tensor;
  private readonly start: Tensor;

  /**
   * @param mean [C, H, W], subtracted from every image
   * @param scale factor after that
   */
  constructor(
    device: Device,
    dataset: Dataset,
    set: ImageSet,
    mean: Float32Array,
    private readonly scale: number,
  ) {
    const shape = [dataset.channels, dataset.height, dataset.width];
    [this.images, this.labels, this.mean, this.indices, this.start] = noScope(() => [
      device.tensor(set.images, [set.count, ...shape]),
      device.tensor(set.labels, [set.count]),
      device.tensor(mean, shape, { format: 'plain' }),
      device.tensor(Int32Array.from({ length: set.count }, (_, i) => i)),
      device.zeros([1], { dtype: 'int32' }),
    ]) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  }

  /** The order of images from now on: a permutation of all. */
  setOrder(order: Int32Array): void {
    this.indices.write(order);
  }

  /** Batch number `cursor` (in device memory) of the order, with crops and flips where a random stream is given. */
  batch(batchSize: number, cursor: Tensor, random: DeviceRandom | null): { images: Tensor; labels: Tensor } {
    const augment = random ? { augment: { random } } : {};
    return gather({ ...this.source, cursor }, { batchSize, scale: this.scale, ...augment });
  }

  /** The images from place `from` of the order, unchanged. */
  range(from: number, count: number): { images: Tensor; labels: Tensor } {
    using indices = samples(this.indices, from, count);
    return gather({ ...this.source, indices, cursor: this.start }, { batchSize: count, scale: this.scale });
  }

  private get source() {
    const { images, labels, mean, indices } = this;
    return { images, labels, mean, indices };
  }

  dispose(): void {
    for (const tensor of [this.images, this.labels, this.mean, this.indices, this.start]) tensor.dispose();
  }
}
