import { noGrad } from '../autograd.js';
import type { BatchSource } from '../data/source.js';
import { scope } from '../scope.js';
import type { Device } from '../tensor.js';
import { classLoss } from './class-loss.js';
import type { DataParallel } from './data-parallel.js';
import { DeviceImages, type DeviceImagesOptions } from './device-images.js';
import type { BatchFigures, History } from './history.js';
import type { Classifier } from './trainer-options.js';

/**
 * The classification of a source's images in batches. Where processes train together, each reads and classifies its part
 * of every batch, and all get the figures of whole batches, as one process alone has them.
 *
 * @internal
 */
export class Evaluation {
  private readonly images: DeviceImages;
  /** Images of each batch. */
  private readonly sizes: readonly number[];
  /** How many images of each batch are this process's own; none but the last batch's may be 0. */
  private readonly parts: readonly number[];

  constructor(
    device: Device,
    source: BatchSource,
    options: DeviceImagesOptions,
    private readonly history: History,
    private readonly parallel: DataParallel | null,
  ) {
    const { batchSize } = options;
    const place = parallel?.group ?? { rank: 0, size: 1 };
    const count = source.labels.length;
    this.sizes = Array.from({ length: Math.ceil(count / batchSize) }, (_, step) =>
      Math.min(batchSize, count - step * batchSize),
    );
    const own: number[] = [];
    this.parts = this.sizes.map((size, step) => {
      const begin = (rank: number) => step * batchSize + Math.floor((rank * size) / place.size);
      const [from, to] = [begin(place.rank), begin(place.rank + 1)];
      for (let i = from; i < to; i++) own.push(i);
      return to - from;
    });
    // Memory can't be of no images: where a process has none, it holds one that it never looks at.
    const members = Int32Array.from(own.length > 0 ? own : [0]);
    const held = place.size === 1 ? source : partOf(source, members);
    this.images = new DeviceImages(device, held, { ...options, batchSize: batchSize / place.size });
  }

  /** Brings what lies on the device for good; see {@link DeviceImages.load}. */
  load(mean: Float32Array): Promise<void> {
    return this.images.load(mean);
  }

  /**
   * Classifies all images in inference mode; afterwards each module is in the mode that it was in. Where processes train
   * together, running averages and filters are rank 0's meanwhile, which are those that files have.
   *
   * @param signal ends it early, and in all processes
   * @returns the figures of the batches up to then, and the number of their images; the same in all processes
   */
  async run(model: Classifier, signal?: AbortSignal): Promise<{ batches: BatchFigures[]; images: number }> {
    this.history.clear();
    const classify = () => this.classify(model, signal);
    const batches = this.parallel
      ? await this.parallel.wholeBatches(await this.parallel.withFirstStatistics(classify), this.parts, this.sizes)
      : await classify();
    const images = this.sizes.slice(0, batches.length).reduce((sum, size) => sum + size, 0);
    return { batches, images };
  }

  dispose(): void {
    this.images.dispose();
  }

  /** The figures of this process's parts. */
  private async classify(model: Classifier, signal?: AbortSignal): Promise<BatchFigures[]> {
    const modes = new Map(model.modules().map((module) => [module, module.training]));
    let [done, steps] = [0, 0];
    model.eval();
    try {
      for (const size of this.parts) {
        if (signal?.aborted || size === 0) break;
        await this.images.provide(steps);
        scope(() =>
          noGrad(() => {
            const { images, labels } = this.images.range(done, size);
            this.history.note(classLoss(model.forward(images, null), labels, this.images.classes));
          }),
        );
        done += size;
        steps++;
      }
    } finally {
      for (const [module, training] of modes) module.training = training;
    }
    return this.history.look(steps);
  }
}

/** Some images of a source, in the order of their numbers. */
function partOf(source: BatchSource, members: Int32Array): BatchSource {
  const { name, classNames, channels, height, width, varies = false } = source;
  const about = { name, classNames, channels, height, width, varies };
  const labels = source.labels.slice(0, members.length);
  for (const [i, member] of members.entries()) labels[i] = source.labels[member] as number;
  const read: BatchSource['read'] = (indices, into, epoch) =>
    source.read(
      indices.map((i) => members[i] as number),
      into,
      epoch,
    );
  return { ...about, labels, read };
}
