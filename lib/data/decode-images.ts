import { availableParallelism } from 'node:os';
import { checkObjects, shown } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import type { Crop } from '../io/crop.js';
import { type ImageDecoder, openCropDecoder } from '../io/decode-crop.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom, philox } from '../random.js';
import type { EncodedImages } from './encoded-images.js';
import { type BatchSource, checkSource } from './source.js';

/** Options of {@link decodeImages}. */
export interface DecodeImagesOptions {
  /** Rows and columns of the decoded images, in pixels, from 8 to 1024. Default: 224 */
  readonly size?: number;
  /**
   * `middle`: the shorter side is resized to `shorter` pixels, and a square is cut from the middle. `random`: for each
   * image and epoch another part is resized to the square, as torchvision's RandomResizedCrop does: of a share of the
   * image's area in `area`, of a ratio of its sides between 3/4 and 4/3. Read for no epoch, images are from the middle.
   * Default: middle
   */
  readonly crop?: 'middle' | 'random';
  /** Pixels of the shorter side before a square is cut from the middle. Default: 8/7 of `size`: 256 for 224 */
  readonly shorter?: number;
  /** The least and the greatest share of the area that a random crop has. Default: 0.08 to 1 */
  readonly area?: readonly [least: number, greatest: number];
  /** Of the random crops: a whole number from 0 to 2^53 - 1. Default: 0 */
  readonly seed?: number;
  /**
   * `native`: libjpeg-turbo decodes JPEGs, in threads of its own, and what isn't a JPEG in grey or sRGB is refused.
   * `sharp`: sharp decodes, on libuv's threads, 4 or `UV_THREADPOOL_SIZE` of the environment. `auto`: libjpeg-turbo where
   * it was built in, sharp for what it refuses and elsewhere. Pixels differ in their last bits. Default: auto
   */
  readonly decoder?: ImageDecoder;
  /** That decode JPEGs by libjpeg-turbo, at most. Default: as many as the processor has cores */
  readonly threads?: number;
  /** Images that are read at a time, or wait for a thread that decodes. Default: 16, or twice `threads` if that is more */
  readonly parallel?: number;
}

const optionNames: OptionNames<DecodeImagesOptions> = {
  size: true,
  crop: true,
  shorter: true,
  area: true,
  seed: true,
  decoder: true,
  threads: true,
  parallel: true,
};

/** Images that are decoded as they are read; see {@link decodeImages}. */
export interface DecodedImages extends BatchSource {
  /** What decodes JPEGs: `libjpeg-turbo` with its version, or `sharp`. */
  readonly decoder: string;
}

/**
 * A source that decodes images when they are read, so that memory holds no more than the {@link Trainer} asks for. An
 * image's crop depends on seed, epoch and the image's number alone: not on the order or on what was read before. Needs
 * libjpeg-turbo or the package `sharp`: see `decoder`.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for options outside their domain; `PACKAGE_MISSING` where the decoder isn't
 *   there. `read` throws `FILE_CORRUPT` for an image that can't be decoded, naming it and the cause. By libjpeg-turbo, any
 *   damage in what is read of an image counts, and a missing end; by sharp, a missing end. `SHAPE_MISMATCH` for too little
 *   room
 *
 * @example
 * const { train, val } = await openImageSplits('imagenet');
 * const dataset = {
 *   train: await decodeImages(train, { crop: 'random', seed: 1 }),
 *   test: await decodeImages(val),
 * };
 */
export async function decodeImages(images: EncodedImages, options: DecodeImagesOptions = {}): Promise<DecodedImages> {
  checkObjects('decodeImages', { images });
  checkOptions('decodeImages', options, optionNames);
  const { size = 224, crop = 'middle', shorter = Math.round((size * 8) / 7), area = [0.08, 1] } = options;
  const { seed = 0, decoder = 'auto', threads = availableParallelism() } = options;
  const { parallel = imagesUnderWay(threads) } = options;
  const whole = (name: string, value: number, least: number, most: number) =>
    check(
      Number.isInteger(value) && value >= least && value <= most,
      'INVALID_ARGUMENT',
      `decodeImages: ${name} must be a whole number from ${least} to ${most}, got ${value}`,
    );
  whole('size', size, 8, 1024);
  whole('shorter', shorter, size, 4096);
  whole('threads', threads, 1, 1024);
  whole('parallel', parallel, 1, 4096);
  check(
    crop === 'middle' || crop === 'random',
    'INVALID_ARGUMENT',
    `decodeImages: crop must be "middle" or "random", got "${crop}"`,
  );
  const [least, greatest] = area;
  check(
    least > 0 && least <= greatest && greatest <= 1,
    'INVALID_ARGUMENT',
    `decodeImages: area must be two shares from 0 to 1 in ascending order, got ${least} and ${greatest}`,
  );
  // Refuses a seed that is none.
  new HostRandom(seed);
  const { name: by, decode } = await openCropDecoder('decodeImages', { size, shorter, decoder, threads });
  const bytes = 3 * size * size;
  const { name, classNames, labels, note } = images;
  const source: DecodedImages = {
    name,
    classNames,
    labels,
    note,
    channels: 3,
    height: size,
    width: size,
    varies: crop === 'random',
    decoder: by,
    async read(indices, into, epoch) {
      check(
        into.length >= indices.length * bytes,
        'SHAPE_MISMATCH',
        () => `decodeImages: read: expected room for ${indices.length} × ${bytes} bytes, got ${into.length}`,
      );
      const one = async (index: number, at: number) => {
        const choose =
          crop === 'random' && epoch !== undefined
            ? (width: number, height: number) => randomCrop(width, height, area, draws(seed, epoch, index))
            : undefined;
        try {
          await decode(await images.read(index), into.subarray(at * bytes, (at + 1) * bytes), choose);
        } catch (error) {
          throw undecodable(images.nameOf(index), error);
        }
      };
      await inTurns([...indices], parallel, one);
    },
  };
  return checkSource('decodeImages', source);
}

/** Images that are read or wait for one of so many threads, so that none of these waits. @internal */
export function imagesUnderWay(threads: number): number {
  return Math.max(16, 2 * threads);
}

/**
 * Decodes every image once, to find those that can't be before a training comes upon them.
 *
 * @param options.onProgress told how many images have been looked at, and how many there are. Default: nobody is
 * @param options.signal ends it early. Default: none
 * @param options.decoder as for {@link decodeImages}; use the same. Default: auto
 * @throws KalmanNormError `FILE_CORRUPT`, naming the first of the damaged images, the cause, and their number
 */
export async function verifyImages(
  images: EncodedImages,
  options: {
    readonly onProgress?: (done: number, total: number) => void;
    readonly signal?: AbortSignal;
    readonly decoder?: ImageDecoder;
  } = {},
): Promise<void> {
  checkObjects('verifyImages', { images });
  checkOptions('verifyImages', options, { onProgress: true, signal: true, decoder: true });
  check(
    typeof images.labels?.length === 'number' && typeof images.read === 'function',
    'INVALID_ARGUMENT',
    () => `verifyImages: images must be encoded images with labels and read, got ${shown(images)}`,
  );
  const { decoder = 'auto', signal } = options;
  const { decode } = await openCropDecoder('verifyImages', { size: 8, shorter: 8, decoder, whole: true });
  const damaged: { index: number; error: unknown }[] = [];
  const total = images.labels.length;
  let done = 0;
  await inTurns([...images.labels.keys()], imagesUnderWay(availableParallelism()), async (index) => {
    signal?.throwIfAborted();
    try {
      // libjpeg makes it small as it decodes: all bytes are looked at, in less time.
      await decode(await images.read(index), new Uint8Array(3 * 8 * 8));
    } catch (error) {
      damaged.push({ index, error });
    }
    options.onProgress?.(++done, total);
  });
  const [first] = damaged.sort((a, b) => a.index - b.index);
  if (!first) return;
  const others = damaged.length > 1 ? `; ${damaged.length - 1} more can't be decoded` : '';
  const { message } = undecodable(images.nameOf(first.index), first.error);
  throw new KalmanNormError('FILE_CORRUPT', message + others, { cause: first.error });
}

/** Calls a function for each item, for so many at a time; ends with the first failure, when nothing runs any more. */
async function inTurns<T>(items: readonly T[], parallel: number, body: (item: T, at: number) => Promise<void>) {
  let next = 0;
  let failure: { error: unknown } | null = null;
  const worker = async () => {
    while (next < items.length && !failure) {
      const at = next++;
      await body(items[at] as T, at).catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, worker));
  if (failure) throw (failure as { error: unknown }).error;
}

function undecodable(name: string, error: unknown): KalmanNormError {
  if (error instanceof KalmanNormError && error.message.startsWith(name)) return error;
  const reason = (error instanceof Error ? error.message : String(error)).trim().split('\n')[0];
  return new KalmanNormError('FILE_CORRUPT', `${name}: the image can't be decoded: ${reason}`, { cause: error });
}

/** Uniform numbers in (0, 1) for an image in an epoch. */
function draws(seed: number, epoch: number, index: number): () => number {
  // Far from the words that HostRandom and the devices count with.
  const stream = 0xc0de_c0de;
  let words: number[] = [];
  let block = 0;
  return () => {
    if (words.length === 0)
      words = philox([block++, index, stream, epoch >>> 0], [seed >>> 0, Math.floor(seed / 2 ** 32)]);
    return ((words.pop() as number) + 0.5) / 2 ** 32;
  };
}

/** torchvision's RandomResizedCrop: ten tries, then the largest part of an allowed ratio from the middle. */
export function randomCrop(
  width: number,
  height: number,
  [least, greatest]: readonly [number, number],
  draw: () => number,
): Crop {
  const [lowest, highest] = [3 / 4, 4 / 3];
  for (let tries = 0; tries < 10; tries++) {
    const area = width * height * (least + (greatest - least) * draw());
    const ratio = lowest * (highest / lowest) ** draw();
    const crop = { width: Math.round(Math.sqrt(area * ratio)), height: Math.round(Math.sqrt(area / ratio)) };
    if (crop.width < 1 || crop.height < 1 || crop.width > width || crop.height > height) continue;
    const left = Math.floor(draw() * (width - crop.width + 1));
    return { ...crop, left, top: Math.floor(draw() * (height - crop.height + 1)) };
  }
  const crop = {
    width: Math.min(width, Math.max(1, Math.round(height * highest))),
    height: Math.min(height, Math.max(1, Math.round(width / lowest))),
  };
  return { ...crop, left: Math.floor((width - crop.width) / 2), top: Math.floor((height - crop.height) / 2) };
}
