import { checkObjects } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions } from '../options.js';

/** Images with their classes. */
export interface ImageSet {
  /** Raw pixels, 0 to 255, as [count, channels, height, width]. */
  readonly images: Uint8Array;
  /** The class of each image, as an index into {@link Dataset.classNames}. */
  readonly labels: Uint8Array;
  /** How many images there are. */
  readonly count: number;
}

/** Training and test images of one kind and size. */
export interface Dataset {
  /** Such as `cifar10`. */
  readonly name: string;
  /** One name a class. */
  readonly classNames: readonly string[];
  /** Colour planes of an image. */
  readonly channels: number;
  /** Rows of an image, in pixels. */
  readonly height: number;
  /** Columns of an image, in pixels. */
  readonly width: number;
  readonly train: ImageSet;
  readonly test: ImageSet;
  /** Where the images come from and how many were used: a sentence for logs and reports. */
  readonly note?: string;
}

/**
 * The mean image over training **and** test images, as the reference code computes it: [channels, height, width].
 * Sums are in double precision, which is exact for these integers.
 *
 * @param dataset images of one size
 * @throws KalmanNormError `INVALID_ARGUMENT` where the data set has no images
 */
export function perPixelMean(dataset: Dataset): Float32Array {
  checkObjects('perPixelMean', { dataset });
  const { channels, height, width, train, test } = dataset;
  checkObjects('perPixelMean', { train, test });
  const count = train.count + test.count;
  check(count > 0, 'INVALID_ARGUMENT', 'dataset: expected at least one image for a mean, got none');
  const size = channels * height * width;
  const sums = new Float64Array(size);
  for (const { images } of [train, test]) {
    for (let start = 0; start < images.length; start += size) {
      for (let i = 0; i < size; i++) sums[i]! += images[start + i]!;
    }
  }
  return Float32Array.from(sums, (sum) => sum / count);
}

/** How many images {@link limit} keeps. */
export interface Limits {
  /** Training images to keep, from the first. Default: all */
  readonly train?: number | undefined;
  /** Test images to keep, from the first. Default: all */
  readonly test?: number | undefined;
}

/**
 * The first images of a data set, for short runs. Nothing is copied: the result shares its pixels with `dataset`.
 * A limit above the number of images keeps them all.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for a limit that isn't a positive integer
 */
export function limit(dataset: Dataset, limits: Limits): Dataset {
  checkObjects('limit', { dataset });
  checkOptions('limit', limits, { train: true, test: true });
  checkObjects('limit', { train: dataset.train, test: dataset.test });
  const { train, test } = limits;
  const parts = [
    { name: 'train', what: 'training', size: train, set: dataset.train },
    { name: 'test', what: 'test', size: test, set: dataset.test },
  ];
  for (const { name, size } of parts) {
    const valid = size === undefined || (Number.isInteger(size) && size > 0);
    check(valid, 'INVALID_ARGUMENT', `limit.${name}: expected a positive number of images, got ${size}`);
  }
  const cuts = parts
    .filter(({ size, set }) => size !== undefined && size < set.count)
    .map(({ what, size, set }) => `the first ${formatCount(size!)} of ${formatCount(set.count)} ${what} images`);
  if (cuts.length === 0) return dataset;
  const note = [dataset.note, `Limited to ${cuts.join(' and ')}.`].filter((text) => text !== undefined).join(' ');
  const imageSize = dataset.channels * dataset.height * dataset.width;
  return {
    ...dataset,
    train: first(dataset.train, imageSize, train),
    test: first(dataset.test, imageSize, test),
    note,
  };
}

function first(set: ImageSet, imageSize: number, size = set.count): ImageSet {
  const count = Math.min(size, set.count);
  return { images: set.images.subarray(0, count * imageSize), labels: set.labels.subarray(0, count), count };
}

/** A number of images for people: 50,000. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}
