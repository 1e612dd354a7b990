/**
 * Folders of images, one folder a class: FOLDER/cat/1.jpg, FOLDER/dog/a/2.png. They are decoded and resized once, into
 * a flat file that is read by positions from then on:
 *
 *     images.bin   pixels, one image after the other, [channels, height, width] bytes each
 *     images.json  the index: version, sizes, class names, labels, skipped files, and what the images were made from
 *
 * The index is written last: where it is, the pixels are complete.
 */

import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { checkPath } from '../arguments.js';
import { check } from '../errors.js';
import { writeFileAtomic } from '../io/atomic-file.js';
import { imageDecoder } from '../io/decode-image.js';
import { makeFolder } from '../io/make-folder.js';
import { hasErrno, openToRead, readAt, readWholeFile } from '../io/read-file.js';
import { checkOptions, type OptionNames } from '../options.js';
import { formatCount } from './dataset.js';
import { byName, classFolders, imageEnding } from './encoded-images.js';
import { type BatchSource, checkSource, labelsOf } from './source.js';

/** Progress of a conversion. */
export interface ConversionProgress {
  /** Files that have been looked at. */
  readonly done: number;
  readonly total: number;
  /** Those among them that couldn't be read. */
  readonly skipped: number;
}

/** Options of {@link openImageFolder}. */
export interface ImageFolderOptions {
  /** Rows of the converted images, in pixels. Default: 32 */
  readonly height?: number;
  /** Columns of the converted images, in pixels. Default: 32 */
  readonly width?: number;
  /** Of the converted images: 3 for red, green and blue, or 1 for grey. Default: 3 */
  readonly channels?: 1 | 3;
  /**
   * How images of another shape are fitted: `cover` cuts what is too much from the middle of the longer side, `fill`
   * stretches. Default: cover
   */
  readonly fit?: 'cover' | 'fill';
  /** The folder of the converted files; created if need be. Default: `.kalman-norm` in the folder of the images */
  readonly cache?: string;
  /** Told about the progress of the conversion. Default: nothing is reported */
  readonly onProgress?: ((progress: ConversionProgress) => void) | undefined;
  /** Stops the conversion; nothing is left of it. Default: none */
  readonly signal?: AbortSignal | undefined;
}

const optionNames: OptionNames<ImageFolderOptions> = {
  height: true,
  width: true,
  channels: true,
  fit: true,
  cache: true,
  onProgress: true,
  signal: true,
};

/** A file that couldn't be used, and why. */
export interface SkippedFile {
  /** Relative to the folder of the images. */
  readonly file: string;
  readonly reason: string;
}

/** Images of a folder; see {@link openImageFolder}. */
export interface ImageFolder extends BatchSource {
  /** Files with the ending of an image that couldn't be read. */
  readonly skipped: readonly SkippedFile[];
  /** Closes the file of pixels. */
  close(): Promise<void>;
}

const VERSION = 2; // 2: resized by a triangle, as models that are served see their images
/** Decoded at a time: libvips has threads of its own, but waits for the disk. */
const parallel = 8;

/** What the index file holds. */
interface Index {
  readonly version: number;
  /** Of the list of files with their sizes and times, and of the options: another one means another conversion. */
  readonly fingerprint: string;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classNames: readonly string[];
  /** The class of each image in the file of pixels. */
  readonly labels: readonly number[];
  readonly skipped: readonly SkippedFile[];
}

interface ImageFile {
  readonly file: string;
  readonly label: number;
  /** Size and time of the last change. */
  readonly stamp: string;
}

/**
 * Opens a folder of images, one folder a class; the classes are in the order of their names. JPEG, PNG and WebP files
 * are read at any depth, turned as their EXIF data says, and fitted to one size; that needs the package `sharp`, an
 * optional peer dependency. The first call converts them; later calls use the converted file, unless a file or an
 * option has changed. Files that can't be read are skipped, and listed.
 *
 * @param folder has a folder for each class
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such folder, or not one image in it; `INVALID_ARGUMENT` for
 *   options outside their domain, one class alone, or more than 65,536; `FILE_CORRUPT` where no file of a class can be
 *   read; `PACKAGE_MISSING` where sharp isn't installed
 *
 * @example
 * const source = await openImageFolder('pets', { height: 64, width: 64 });
 * const { train, test } = splitSource(source, { validation: 0.2, seed: 1 });
 */
export async function openImageFolder(folder: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
  checkPath('openImageFolder', folder);
  checkOptions('openImageFolder', options, optionNames);
  const { height = 32, width = 32, channels = 3, fit = 'cover', cache = join(folder, '.kalman-norm') } = options;
  for (const [name, size] of Object.entries({ height, width })) {
    check(
      Number.isInteger(size) && size >= 1 && size <= 8192,
      'INVALID_ARGUMENT',
      `openImageFolder: ${name} must be a whole number from 1 to 8192, got ${size}`,
    );
  }
  check(
    channels === 1 || channels === 3,
    'INVALID_ARGUMENT',
    `openImageFolder: channels must be 1 or 3, got ${channels}`,
  );
  check(
    fit === 'cover' || fit === 'fill',
    'INVALID_ARGUMENT',
    `openImageFolder: fit must be "cover" or "fill", got "${fit}"`,
  );
  const { classNames, files } = await listImages(folder);
  const format = { version: VERSION, channels, height, width, fit };
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([format, classNames, files]))
    .digest('hex');
  const paths = { pixels: join(cache, 'images.bin'), index: join(cache, 'images.json') };
  const index =
    (await readIndex({ ...format, classNames, fingerprint, paths })) ??
    (await convert(folder, { ...format, classNames, files, fingerprint, paths }, options));
  return openConverted(folder, paths.pixels, index);
}

/** The classes and their files, in the order of the names. */
async function listImages(folder: string): Promise<{ classNames: string[]; files: ImageFile[] }> {
  const classNames: string[] = [];
  const files: ImageFile[] = [];
  for (const name of await classFolders('openImageFolder', folder)) {
    const inside = await readdir(join(folder, name), { recursive: true }).catch((error: unknown) => {
      // A link to a file, or a socket.
      if (hasErrno(error, 'ENOTDIR', 'ENOENT')) return [];
      throw error;
    });
    const within = inside.filter((file) => imageEnding.test(file)).sort(byName);
    if (within.length === 0) continue;
    for (const file of within) {
      // What isn't there any more is found out when it is decoded.
      const { size, mtimeMs } = await stat(join(folder, name, file)).catch(() => ({ size: 0, mtimeMs: 0 }));
      files.push({ file: join(name, file), label: classNames.length, stamp: `${size} ${mtimeMs}` });
    }
    classNames.push(name);
  }
  check(
    files.length > 0,
    'FILE_NOT_FOUND',
    `openImageFolder: expected folders with JPEG, PNG or WebP images, one folder a class, in ${folder}; found none`,
  );
  check(
    classNames.length >= 2,
    'INVALID_ARGUMENT',
    `openImageFolder: expected at least 2 classes, one folder each, in ${folder}; found images in "${classNames[0]}" only`,
  );
  check(
    classNames.length <= 65_536,
    'INVALID_ARGUMENT',
    `openImageFolder: expected at most 65536 classes in ${folder}, found ${classNames.length}`,
  );
  return { classNames, files };
}

/** The index of an earlier conversion of the same files with the same options, if it is whole. */
async function readIndex(conversion: Omit<Conversion, 'files' | 'fit'>): Promise<Index | null> {
  const { fingerprint, channels, height, width, classNames, paths } = conversion;
  try {
    const text = new TextDecoder().decode(await readWholeFile(paths.index, 'the index of converted images'));
    const { labels, skipped, ...index } = JSON.parse(text) as Index;
    if (index.fingerprint !== fingerprint) return null;
    const isLabel = (label: unknown) => Number.isInteger(label) && (label as number) in classNames;
    const isWhole =
      labels.every(isLabel) &&
      skipped.every(({ file, reason }) => typeof file === 'string' && typeof reason === 'string');
    const { size } = await stat(paths.pixels);
    if (!isWhole || size !== labels.length * channels * height * width) return null;
    return { version: VERSION, fingerprint, channels, height, width, classNames, labels, skipped };
  } catch {
    // Missing or damaged: the images are still there to be converted.
    return null;
  }
}

/** What a conversion is about. */
interface Conversion {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  readonly fit: 'cover' | 'fill';
  readonly classNames: readonly string[];
  readonly files: readonly ImageFile[];
  readonly fingerprint: string;
  readonly paths: { pixels: string; index: string };
}

async function convert(
  folder: string,
  conversion: Conversion,
  { onProgress, signal }: ImageFolderOptions,
): Promise<Index> {
  const { files, channels, height, width, classNames, fingerprint, paths } = conversion;
  const decode = await imageDecoder('openImageFolder', conversion);
  await makeFolder('openImageFolder: cache', dirname(paths.pixels));
  const temporary = `${paths.pixels}.${process.pid}.tmp`;
  const labels: number[] = [];
  const skipped: SkippedFile[] = [];
  try {
    const out = await open(temporary, 'w');
    try {
      for (let start = 0; start < files.length; start += parallel) {
        signal?.throwIfAborted();
        const batch = files.slice(start, start + parallel);
        const images = await Promise.allSettled(batch.map(({ file }) => decode(join(folder, file))));
        for (const [i, image] of images.entries()) {
          const { file, label } = batch[i] as ImageFile;
          if (image.status === 'rejected') skipped.push({ file, reason: reasonOf(image.reason) });
          else {
            await out.writeFile(image.value);
            labels.push(label);
          }
        }
        onProgress?.({ done: start + batch.length, total: files.length, skipped: skipped.length });
      }
      await out.sync();
    } finally {
      await out.close();
    }
    const found = new Set(labels);
    const empty = classNames.findIndex((_, label) => !found.has(label));
    check(
      empty < 0,
      'FILE_CORRUPT',
      () => `openImageFolder: no file of the class "${classNames[empty]}" can be read: ${listOf(skipped)}`,
    );
    // Without its index, a new file of pixels can't be taken for that of the old index.
    await rm(paths.index, { force: true });
    await rename(temporary, paths.pixels);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const index: Index = { version: VERSION, fingerprint, channels, height, width, classNames, labels, skipped };
  await writeFileAtomic(paths.index, JSON.stringify(index));
  return index;
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] as string;
}

function listOf(skipped: readonly SkippedFile[]): string {
  const shown = skipped.slice(0, 3).map(({ file, reason }) => `${file} (${reason})`);
  return shown.join(', ') + (skipped.length > 3 ? ` and ${skipped.length - 3} more` : '');
}

async function openConverted(folder: string, path: string, index: Index): Promise<ImageFolder> {
  const { channels, height, width, classNames, skipped } = index;
  const size = channels * height * width;
  const file: FileHandle = await openToRead(path, 'converted images');
  const left = skipped.length > 0 ? `; ${formatCount(skipped.length)} files that can't be read were left out` : '';
  const source = {
    name: basename(resolve(folder)),
    classNames,
    channels,
    height,
    width,
    labels: labelsOf(index.labels, classNames.length),
    note: `${formatCount(index.labels.length)} images of ${classNames.length} classes from ${folder}${left}.`,
    skipped,
    async read(indices: Int32Array, into: Uint8Array): Promise<void> {
      // Neighbours in the file are read at once, so that reading in order is fast.
      for (let start = 0; start < indices.length; ) {
        let end = start + 1;
        while (end < indices.length && indices[end] === (indices[end - 1] as number) + 1) end++;
        const bytes = into.subarray(start * size, end * size);
        const read = await readAt(file, bytes, (indices[start] as number) * size);
        check(read === bytes.length, 'FILE_CORRUPT', `${path}: the file has become shorter; open the folder again`);
        start = end;
      }
    },
    close: () => file.close(),
  };
  checkSource(`openImageFolder: ${relative('', path) || path}`, source);
  return source;
}
