/**
 * Data sets in memory, where they are found and how they are fetched.
 *
 * @module data
 */

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { check, KalmanNormError } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { loadCifar10, loadCifar100 } from './cifar.js';
import type { Dataset } from './dataset.js';
import {
  type Archive,
  cifar10Archive,
  cifar100Archive,
  type DownloadProgress,
  downloadCifar10,
  downloadCifar100,
} from './download.js';
import { fashionMnistFolder, loadFashionMnist } from './fashion-mnist.js';
import { type SyntheticOptions, syntheticDataset } from './synthetic.js';

export type { ImageDecoder } from '../io/decode-crop.js';
export { loadCifar10, loadCifar100 } from './cifar.js';
export { type Dataset, type ImageSet, type Limits, limit, perPixelMean } from './dataset.js';
export { type DecodedImages, type DecodeImagesOptions, decodeImages, verifyImages } from './decode-images.js';
export { type DownloadOptions, type DownloadProgress, downloadCifar10, downloadCifar100 } from './download.js';
export { type EncodedImages, listImageFolder } from './encoded-images.js';
export { fashionMnistFolder, loadFashionMnist } from './fashion-mnist.js';
export {
  type ConversionProgress,
  type ImageFolder,
  type ImageFolderOptions,
  openImageFolder,
  type SkippedFile,
} from './image-folder.js';
export { type ImageSplits, openImageSplits } from './image-splits.js';
export {
  type ArraySourceOptions,
  arraySource,
  type BatchSource,
  type Labels,
  meanImage,
  type SplitOptions,
  type SplitSource,
  splitSource,
} from './source.js';
export { type SyntheticOptions, syntheticDataset } from './synthetic.js';
export { openWebDataset } from './web-dataset.js';

/** The data sets that {@link openDataset} knows. */
export const datasetNames = ['cifar10', 'cifar100', 'fashion-mnist', 'synthetic'] as const;

/** One of {@link datasetNames}. */
export type DatasetName = (typeof datasetNames)[number];

/** Options of {@link openDataset}. */
export interface OpenDatasetOptions {
  /** Which data set. */
  readonly name: DatasetName;
  /** A folder to look in first. Default: none */
  readonly dataDir?: string | undefined;
  /** Whether CIFAR may be downloaded into {@link cacheFolder} where it isn't found. Default: false */
  readonly download?: boolean | undefined;
  /** Told about the progress of a download. Default: nothing is reported */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Stops a download. Default: none */
  readonly signal?: AbortSignal | undefined;
  /** Options of the synthetic set; the other sets ignore them. Default: those of {@link syntheticDataset} */
  readonly synthetic?: SyntheticOptions | undefined;
}

const optionNames: OptionNames<OpenDatasetOptions> = {
  name: true,
  dataDir: true,
  download: true,
  onProgress: true,
  signal: true,
  synthetic: true,
};

/** How a data set of files is found. */
interface Source {
  readonly load: (dir: string) => Promise<Dataset>;
  /** The files of which at least one is in a folder that holds the data set, though perhaps not all of it. */
  readonly marks: readonly string[];
  /** Folders to look in besides the given one and the cache. */
  readonly folders: readonly string[];
  readonly download?: (dir: string, options: Pick<OpenDatasetOptions, 'onProgress' | 'signal'>) => Promise<string>;
  /** What somebody can do who doesn't have the files. */
  readonly howToGet: string;
}

function cifar(
  archive: Archive,
  marks: readonly string[],
  load: Source['load'],
  download: NonNullable<Source['download']>,
): Source {
  return {
    load,
    marks: [...marks, ...marks.map((mark) => join(archive.folder, mark))],
    folders: [],
    download,
    howToGet: `Download and unpack ${archive.url} and give its folder as dataDir, or allow the download with download: true.`,
  };
}

const sources: Readonly<Record<Exclude<DatasetName, 'synthetic'>, Source>> = {
  cifar10: cifar(cifar10Archive, ['data_batch_1.bin', 'test_batch.bin'], loadCifar10, downloadCifar10),
  cifar100: cifar(cifar100Archive, ['train.bin', 'test.bin'], loadCifar100, downloadCifar100),
  'fashion-mnist': {
    load: loadFashionMnist,
    marks: ['train-images-idx3-ubyte.gz', 't10k-images-idx3-ubyte.gz'],
    folders: [fashionMnistFolder],
    howToGet: "Install Debian's package dataset-fashion-mnist (apt-get install dataset-fashion-mnist).",
  },
};

/**
 * Where downloads are kept: `$XDG_CACHE_HOME/kalman-norm`, by default `~/.cache/kalman-norm`.
 *
 * Source: the XDG Base Directory Specification, which also says to ignore a path that isn't absolute.
 */
export function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME ?? '';
  return join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'kalman-norm');
}

/**
 * Finds and reads a data set: in `dataDir`, else in {@link cacheFolder}, else (Fashion-MNIST) where Debian's package
 * puts it, else by a download if that is allowed. The first folder with files of the set decides: if they are
 * damaged or incomplete, that is an error, and no other folder takes their place in silence. The `note` of the result
 * says where it came from.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for an unknown name; `FILE_NOT_FOUND`, with the folders that were
 *   searched and how to get the data; `FILE_CORRUPT` for damaged files; `DOWNLOAD_FAILED`
 */
export async function openDataset(options: OpenDatasetOptions): Promise<Dataset> {
  checkOptions('openDataset', options, optionNames);
  const { name, dataDir, download = false } = options;
  check(
    datasetNames.includes(name),
    'INVALID_ARGUMENT',
    () => `name: expected one of ${datasetNames.join(', ')}, got ${JSON.stringify(name)}`,
  );
  if (name === 'synthetic') return syntheticDataset(options.synthetic);

  const source = sources[name];
  const folders = [...(dataDir === undefined ? [] : [dataDir]), cacheFolder(), ...source.folders];
  for (const folder of folders) {
    if (source.marks.some((mark) => existsSync(join(folder, mark)))) return source.load(folder);
  }
  if (download && source.download !== undefined) {
    const { onProgress, signal } = options;
    return source.load(await source.download(cacheFolder(), { onProgress, signal }));
  }
  throw new KalmanNormError('FILE_NOT_FOUND', `${name} isn't in ${folders.join(' or ')}. ${source.howToGet}`);
}
