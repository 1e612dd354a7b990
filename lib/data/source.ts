import { shown } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom } from '../random.js';
import type { Dataset, ImageSet } from './dataset.js';

/** What labels of 16 bits can tell apart. */
const MOST_CLASSES = 65_536;

/** The class of each image, from 0: bytes, where there are no more than 256 classes. */
export type Labels = Uint8Array | Uint16Array;

/**
 * Images of one size with their classes, wherever they lie: in memory, in a file, or behind anything that can read
 * them. Labels are always at hand.
 */
export interface BatchSource {
  /** Such as the name of a folder. */
  readonly name: string;
  /** One name a class; 2 to 65,536. */
  readonly classNames: readonly string[];
  /** Colour planes of an image. */
  readonly channels: number;
  /** Rows of an image, in pixels. */
  readonly height: number;
  /** Columns of an image, in pixels. */
  readonly width: number;
  /** The class of each image, as an index into `classNames`; their number is that of the images. */
  readonly labels: Labels;
  /** Where the images come from and how many were used: a sentence for logs and reports. */
  readonly note?: string | undefined;
  /** Whether images are others in each epoch: they are then read anew, even where all would fit on the device. Default: no */
  readonly varies?: boolean;
  /**
   * Reads images.
   *
   * @param indices which ones, in any order
   * @param into takes their pixels, 0 to 255, as [count, channels, height, width]
   * @param epoch of training that they are read for, counted from 1: what a source that changes its images at random
   *   draws by. Absent, the images are wanted for something else
   */
  read(indices: Int32Array, into: Uint8Array, epoch?: number): Promise<void> | void;
}

/** Training and validation images; `test` is what {@link Trainer.evaluate} classifies. */
export interface SplitSource {
  readonly train: BatchSource;
  readonly test: BatchSource;
}

/** What {@link arraySource} is made from. */
export interface ArraySourceOptions {
  /** Raw pixels, 0 to 255, as [count, channels, height, width]. Not copied: don't change them afterwards. */
  readonly images: Uint8Array;
  /** The class of each image, from 0. */
  readonly labels: ArrayLike<number>;
  /** Default: "class 0", "class 1" and so on, up to the highest label */
  readonly classNames?: readonly string[];
  /** Colour planes of an image. Default: 3 */
  readonly channels?: number;
  readonly height: number;
  readonly width: number;
  /** Default: "arrays" */
  readonly name?: string;
  /** A sentence for logs and reports. Default: none */
  readonly note?: string | undefined;
}

/** A part of a {@link Dataset} may be handed on with all that is known of the whole. */
type Accepted = ArraySourceOptions & Partial<Pick<Dataset, 'train' | 'test'> & Pick<ImageSet, 'count'>>;

const arraySourceNames: OptionNames<Accepted> = {
  images: true,
  labels: true,
  classNames: true,
  channels: true,
  height: true,
  width: true,
  name: true,
  note: true,
  count: true,
  train: true,
  test: true,
};

/**
 * Images that are in memory.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` or `SHAPE_MISMATCH` where images, labels and sizes don't fit each other,
 *   naming the image
 *
 * @example
 * const source = arraySource({ images, labels, classNames: ['cat', 'dog'], height: 32, width: 32 });
 * const trainer = new Trainer({ device, model, optimizer, dataset: splitSource(source) });
 */
export function arraySource(options: ArraySourceOptions): BatchSource {
  checkOptions<Accepted>('arraySource', options, arraySourceNames);
  const { images, labels, channels = 3, height, width, name = 'arrays', note } = options;
  check(images instanceof Uint8Array, 'INVALID_ARGUMENT', 'arraySource: images must be a Uint8Array of pixels');
  check(
    typeof labels === 'object' && labels !== null && Number.isInteger(labels.length),
    'INVALID_ARGUMENT',
    () => `arraySource: labels must be an array of numbers, got ${String(labels)}`,
  );
  const classNames = options.classNames ?? namesOf(labels);
  const source = {
    name,
    classNames,
    channels,
    height,
    width,
    labels: checkedLabels('arraySource: labels', labels, classNames.length),
    note,
  };
  return checkSource('arraySource', memorySource(source, images));
}

/** A source of which the images are an array. */
function memorySource(about: Omit<BatchSource, 'read'>, images: Uint8Array): BatchSource {
  const size = about.channels * about.height * about.width;
  check(
    images.length === about.labels.length * size,
    'SHAPE_MISMATCH',
    () =>
      `${about.name}: images must have ${about.labels.length} × ${about.channels} × ${about.height} × ${about.width} ` +
      `= ${about.labels.length * size} bytes, got ${images.length}`,
  );
  return {
    ...about,
    read(indices, into) {
      for (const [i, index] of indices.entries()) {
        into.set(images.subarray(index * size, (index + 1) * size), i * size);
      }
    },
  };
}

/** Names for classes that have none, up to the highest label. */
function namesOf(labels: ArrayLike<number>): string[] {
  let highest = 0;
  // A label that is no class is named only once the source is checked, and must not make a list as long as it is large.
  for (let i = 0; i < labels.length; i++) highest = Math.max(highest, Number(labels[i]) || 0);
  return Array.from({ length: Math.min(Math.floor(highest), MOST_CLASSES - 1) + 1 }, (_, i) => `class ${i}`);
}

/** The labels, if each is a class. */
function checkedLabels(name: string, labels: ArrayLike<number>, classes: number): Labels {
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i] as number;
    check(
      Number.isInteger(label) && label >= 0 && label < classes,
      'INVALID_ARGUMENT',
      () => `${name}: label ${i} is ${shown(label)}, but there are ${classes} classes: expected 0 to ${classes - 1}`,
    );
  }
  return isLabels(labels) ? labels : labelsOf(labels, classes);
}

/** Labels in the smallest array that so many classes go into. @internal */
export function labelsOf(labels: ArrayLike<number>, classes: number): Labels {
  return classes <= 256 ? Uint8Array.from(labels) : Uint16Array.from(labels);
}

function isLabels(labels: unknown): labels is Labels {
  return labels instanceof Uint8Array || labels instanceof Uint16Array;
}

/**
 * Checks what a source says of itself.
 *
 * @returns the source
 * @throws KalmanNormError `INVALID_ARGUMENT`, naming the fault
 * @internal
 */
export function checkSource<S extends BatchSource>(owner: string, source: S): S {
  check(
    typeof source === 'object' && source !== null && typeof source.read === 'function',
    'INVALID_ARGUMENT',
    () => `${owner}: expected a source of images, got ${String(source)}`,
  );
  const { classNames, channels, height, width, labels } = source;
  check(
    Array.isArray(classNames) && classNames.every((text) => typeof text === 'string'),
    'INVALID_ARGUMENT',
    `${owner}: classNames must be an array of texts`,
  );
  check(
    classNames.length >= 2 && classNames.length <= MOST_CLASSES,
    'INVALID_ARGUMENT',
    `${owner}: expected 2 to ${MOST_CLASSES} classes, got ${classNames.length}`,
  );
  for (const [name, size] of Object.entries({ channels, height, width })) {
    check(
      Number.isInteger(size) && size >= 1 && size <= 65_536,
      'INVALID_ARGUMENT',
      `${owner}: ${name} must be a whole number from 1 to 65536, got ${size}`,
    );
  }
  check(isLabels(labels), 'INVALID_ARGUMENT', `${owner}: labels must be a Uint8Array or a Uint16Array`);
  check(labels.length > 0, 'INVALID_ARGUMENT', `${owner}: expected at least one image, got none`);
  checkedLabels(`${owner}: labels`, labels, classNames.length);
  return source;
}

/**
 * The two sources of a data set, checked.
 *
 * @throws KalmanNormError as {@link checkSource}; `SHAPE_MISMATCH` where training and test images differ in size
 * @internal
 */
export function sourcesOf(dataset: Dataset | SplitSource): SplitSource {
  check(
    typeof dataset === 'object' && dataset !== null && 'train' in dataset && 'test' in dataset,
    'INVALID_ARGUMENT',
    () => `dataset: expected train and test images, got ${String(dataset)}`,
  );
  const source = (part: 'train' | 'test') => {
    const set = dataset[part];
    return checkSource(`dataset.${part}`, isImageSet(set) ? imageSource(dataset as Dataset, set, part) : set);
  };
  const [train, test] = [source('train'), source('test')];
  for (const name of ['channels', 'height', 'width'] as const) {
    check(
      train[name] === test[name],
      'SHAPE_MISMATCH',
      `dataset: training and test images differ in ${name}: ${train[name]} and ${test[name]}`,
    );
  }
  check(
    train.classNames.length === test.classNames.length &&
      train.classNames.every((name, i) => name === test.classNames[i]),
    'INVALID_ARGUMENT',
    'dataset: training and test images must have the same classes',
  );
  return { train, test };
}

function isImageSet(set: ImageSet | BatchSource): set is ImageSet {
  return typeof set === 'object' && set !== null && 'images' in set;
}

function imageSource(dataset: Dataset, { images, labels, count }: ImageSet, part: string): BatchSource {
  const { name, classNames, channels, height, width, note } = dataset;
  const what = `dataset.${part}`;
  check(
    images instanceof Uint8Array && labels instanceof Uint8Array,
    'INVALID_ARGUMENT',
    `${what}: images and labels must be Uint8Arrays`,
  );
  check(
    count === labels.length,
    'SHAPE_MISMATCH',
    `${what}: expected one label for each of ${count} images, got ${labels.length}`,
  );
  return { ...memorySource({ name: what, classNames, channels, height, width, labels, note }, images), name };
}

/** Options of {@link splitSource}. */
export interface SplitOptions {
  /** Share of the images for validation, between 0 and 1. Default: 0.1 */
  readonly validation?: number;
  /** A whole number from 0 to 2^53 - 1. Default: 0 */
  readonly seed?: number;
}

/**
 * Parts a source in training and validation images, at random but the same for one seed. Each class gives the same
 * share, and at least one image to each part.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for a share outside (0, 1), or a class with a single image
 */
export function splitSource(source: BatchSource, options: SplitOptions = {}): SplitSource {
  checkOptions('splitSource', options, { validation: true, seed: true });
  const { validation = 0.1, seed = 0 } = options;
  checkSource('splitSource', source);
  check(
    validation > 0 && validation < 1,
    'INVALID_ARGUMENT',
    `splitSource: validation must lie between 0 and 1, got ${validation}`,
  );
  const random = new HostRandom(seed);
  const parts: { train: number[][]; test: number[][] } = { train: [], test: [] };
  const classes: number[][] = source.classNames.map(() => []);
  for (const [i, label] of source.labels.entries()) classes[label]?.push(i);
  for (const [label, members] of classes.entries()) {
    const name = source.classNames[label];
    check(
      members.length !== 1,
      'INVALID_ARGUMENT',
      `splitSource: class "${name}" has a single image; two are needed to have one in each part`,
    );
    const count = Math.min(members.length - 1, Math.max(1, Math.round(validation * members.length)));
    const shuffled = Array.from(random.permutation(members.length), (i) => members[i] as number);
    parts.test.push(shuffled.slice(0, count));
    parts.train.push(shuffled.slice(count));
  }
  const view = (indices: number[][], what: string) => subset(source, Int32Array.from(indices.flat()).sort(), what);
  return { train: view(parts.train, 'training'), test: view(parts.test, 'validation') };
}

/** Some of a source's images. */
function subset(source: BatchSource, members: Int32Array, what: string): BatchSource {
  const { name, classNames, channels, height, width, note, varies = false } = source;
  return {
    name,
    classNames,
    channels,
    height,
    width,
    varies,
    note: [note, `${members.length} of ${source.labels.length} images for ${what}.`].filter(Boolean).join(' '),
    labels: labelsOf(
      Array.from(members, (i) => source.labels[i] as number),
      classNames.length,
    ),
    read: (indices, into, epoch) =>
      source.read(
        Int32Array.from(indices, (i) => members[i] as number),
        into,
        epoch,
      ),
  };
}

/** Images read at a time for a mean. */
const block = 1024;

/**
 * The mean image of all images of the sources: [channels, height, width], as {@link perPixelMean}.
 *
 * @param sources of one image size
 */
export async function meanImage(...sources: readonly BatchSource[]): Promise<Float32Array> {
  const [first] = sources;
  check(first !== undefined, 'INVALID_ARGUMENT', 'meanImage: expected at least one source');
  for (const source of sources) checkSource('meanImage', source);
  const size = first.channels * first.height * first.width;
  const sums = new Float64Array(size);
  const pixels = new Uint8Array(block * size);
  let count = 0;
  for (const source of sources) {
    for (let start = 0; start < source.labels.length; start += block) {
      const indices = Int32Array.from({ length: Math.min(block, source.labels.length - start) }, (_, i) => start + i);
      await source.read(indices, pixels);
      for (let at = 0; at < indices.length * size; at += size) {
        for (let i = 0; i < size; i++) sums[i]! += pixels[at + i]!;
      }
    }
    count += source.labels.length;
  }
  return Float32Array.from(sums, (sum) => sum / count);
}
