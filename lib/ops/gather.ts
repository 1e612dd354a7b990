import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import type { DeviceRandom } from '../device-random.js';
import { checkOptions, type OptionNames } from '../options.js';
import { Tensor } from '../tensor.js';

declare module '../addon/contract.js' {
  interface Operations {
    gather(args: {
      images: Handle;
      labels: Handle;
      mean: Handle;
      indices: Handle;
      cursor: Handle;
      batch: number;
      first: number;
      pad: number;
      cutout: number;
      scale: number;
      augment: boolean;
      random?: RandomSource | null;
    }): { images: Handle; labels: Handle };
  }
}

/** What {@link gather} draws from. */
export interface GatherSource {
  /** uint8 [count, C, H, W]. */
  images: Tensor;
  /** int32 [count]. */
  labels: Tensor;
  /** [C, H, W], subtracted from every image; format `plain`. */
  mean: Tensor;
  /** int32: numbers of images. */
  indices: Tensor;
  /** int32, one value: which batch of the indices. */
  cursor: Tensor;
}

/** Random changes to images that are trained with. */
export interface Augmentation {
  /** Pixels by which crops move, at most; default 4. */
  pad?: number;
  /**
   * Pixels a side of a square around a random pixel that is set to 0 after the mean is subtracted (DeVries and Taylor,
   * 2017); default 0: none.
   */
  cutout?: number;
}

/** Options of {@link gather}. */
export interface GatherOptions {
  batchSize: number;
  /** Of a part of a batch: the number of its first image there, by which crops and flips are drawn; default 0. */
  first?: number;
  /** Factor after the mean is subtracted; default 1. */
  scale?: number;
  /**
   * Random crops and flips as in the reference: the raw image is pasted on a canvas of zeros with `pad` pixels on each
   * side, cropped at offsets drawn from 0 to 2·pad - 1, and flipped with probability 1/2. Default: none.
   */
  augment?: Augmentation & { random: DeviceRandom };
}

const optionNames: OptionNames<GatherOptions> = { batchSize: true, first: true, scale: true, augment: true };

/**
 * A batch of images and labels out of a set that lies on the device: image i is number indices[cursor·batchSize + i].
 * No gradient.
 *
 * @returns images [N, C, H, W], row-major, and labels [N]; NaN and -1 where an index is outside
 */
export function gather(source: GatherSource, options: GatherOptions): { images: Tensor; labels: Tensor } {
  checkObjects('gather', { source });
  checkOptions('gather', options, optionNames);
  const { images, labels, mean, indices, cursor } = source;
  checkTensors('gather', { images, labels, mean, indices, cursor });
  const { batchSize, first = 0, scale = 1, augment } = options;
  const result = native.gather({
    images: source.images.handle,
    labels: source.labels.handle,
    mean: source.mean.handle,
    indices: source.indices.handle,
    cursor: source.cursor.handle,
    batch: batchSize,
    first,
    pad: augment?.pad ?? 4,
    cutout: augment?.cutout ?? 0,
    scale,
    augment: augment !== undefined,
    random: augment?.random.next() ?? null,
  });
  const { device } = source.images;
  return { images: new Tensor(device, result.images), labels: new Tensor(device, result.labels) };
}
