/**
 * CIFAR-10 and CIFAR-100 in their binary layout: records of one label byte (CIFAR-100: a coarse and a fine one) and
 * 3 x 32 x 32 bytes, the red, green and blue planes row by row.
 *
 * Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
 * https://www.cs.toronto.edu/~kriz/cifar.html
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { hasErrno, readWholeFile } from '../io/read-file.js';
import { cifar100ClassNames } from './cifar100-names.js';
import { type Dataset, formatCount, type ImageSet } from './dataset.js';

const imageSize = 3 * 32 * 32;

const cifar10ClassNames = 'airplane automobile bird cat deer dog frog horse ship truck'.split(' ');

/** What tells the two data sets apart. */
interface Layout {
  readonly name: string;
  /** The folder that the official archive holds. */
  readonly folder: string;
  /** Training files; the first must be there. */
  readonly trainFiles: readonly string[];
  readonly testFile: string;
  /** Records of a complete training or test file. */
  readonly recordsPerTrainFile: number;
  readonly recordsPerTestFile: number;
  /** The label bytes at the start of a record; the last is the class to learn. */
  readonly labels: readonly { readonly name: string; readonly classes: number }[];
  readonly namesFile: string;
  readonly classNames: readonly string[];
}

const cifar10: Layout = {
  name: 'cifar10',
  folder: 'cifar-10-batches-bin',
  trainFiles: [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`),
  testFile: 'test_batch.bin',
  recordsPerTrainFile: 10_000,
  recordsPerTestFile: 10_000,
  labels: [{ name: 'label', classes: 10 }],
  namesFile: 'batches.meta.txt',
  classNames: cifar10ClassNames,
};

const cifar100: Layout = {
  name: 'cifar100',
  folder: 'cifar-100-binary',
  trainFiles: ['train.bin'],
  testFile: 'test.bin',
  recordsPerTrainFile: 50_000,
  recordsPerTestFile: 10_000,
  labels: [
    { name: 'coarse label', classes: 20 },
    { name: 'fine label', classes: 100 },
  ],
  namesFile: 'fine_label_names.txt',
  classNames: cifar100ClassNames,
};

/**
 * Reads CIFAR-10 from `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`. Batches 2 to 5 may be missing,
 * and a file may be shorter than the official 10,000 records; the data set's `note` says which files were read, and
 * how much that is of the whole. Class names come from `batches.meta.txt` where there is one.
 *
 * @param dir the folder with these files, or one with a folder `cifar-10-batches-bin`
 * @throws KalmanNormError `FILE_NOT_FOUND` where the first batch or the test batch is missing; `FILE_CORRUPT` for a
 *   file that isn't a whole number of records (truncated), has more than the official number (oversized), or holds
 *   a label outside 0 to 9 (mislabelled, or another kind of file)
 */
export function loadCifar10(dir: string): Promise<Dataset> {
  return load(cifar10, dir);
}

/**
 * Reads CIFAR-100 from `train.bin` and `test.bin`. The fine label is the class. Class names come from
 * `fine_label_names.txt` where there is one.
 *
 * @param dir the folder with these files, or one with a folder `cifar-100-binary`
 * @throws KalmanNormError as {@link loadCifar10}, with coarse labels of 0 to 19 and fine labels of 0 to 99
 */
export function loadCifar100(dir: string): Promise<Dataset> {
  return load(cifar100, dir);
}

async function load(layout: Layout, dir: string): Promise<Dataset> {
  const [firstTrainFile] = layout.trainFiles;
  const required = [firstTrainFile!, layout.testFile];
  const { folder, files } = await findFolder(layout, dir, required);
  const missing = required.filter((file) => !files.has(file));
  check(
    missing.length === 0,
    'FILE_NOT_FOUND',
    () => `dir: ${layout.name} needs ${required.join(' and ')}, but ${missing.join(' and ')} isn't in ${folder}`,
  );
  const trainFiles = layout.trainFiles.filter((file) => files.has(file));
  const classNames = files.has(layout.namesFile)
    ? await readNames(join(folder, layout.namesFile), layout.classNames.length)
    : layout.classNames;
  const train = await readSet(layout, folder, trainFiles, layout.recordsPerTrainFile);
  const test = await readSet(layout, folder, [layout.testFile], layout.recordsPerTestFile);
  const note =
    `${describe(train, trainFiles, layout.recordsPerTrainFile * layout.trainFiles.length, 'training')} and ` +
    `${describe(test, [layout.testFile], layout.recordsPerTestFile, 'test')} from ${folder}.`;
  return { name: layout.name, classNames, channels: 3, height: 32, width: 32, train, test, note };
}

/** The first of `dir` and its official subfolder that holds a required file, with the names of all its files. */
async function findFolder(layout: Layout, dir: string, required: readonly string[]) {
  checkPath('the data set', dir);
  const folders = [dir, join(dir, layout.folder)];
  for (const folder of folders) {
    const files = new Set(await listFolder(folder));
    if (required.some((file) => files.has(file))) return { folder, files };
  }
  throw new KalmanNormError(
    'FILE_NOT_FOUND',
    `dir: ${layout.name} needs ${required.join(' and ')}, but neither is in ${folders.join(' or ')}`,
  );
}

async function listFolder(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

async function readSet(
  layout: Layout,
  folder: string,
  names: readonly string[],
  maxRecords: number,
): Promise<ImageSet> {
  const recordSize = layout.labels.length + imageSize;
  const files: Uint8Array[] = [];
  for (const name of names) {
    const path = join(folder, name);
    // Twice the official size: what is a little longer gets the message below.
    const bytes = await readWholeFile(path, `a file of ${layout.name}`, 2 * maxRecords * recordSize);
    checkRecords(layout, path, bytes, maxRecords);
    files.push(bytes);
  }
  const count = files.reduce((sum, { length }) => sum + length / recordSize, 0);
  const images = new Uint8Array(count * imageSize);
  const labels = new Uint8Array(count);
  let i = 0;
  for (const bytes of files) {
    for (let start = 0; start < bytes.length; start += recordSize, i++) {
      const pixels = start + layout.labels.length;
      labels[i] = bytes[pixels - 1]!;
      images.set(bytes.subarray(pixels, start + recordSize), i * imageSize);
    }
  }
  return { images, labels, count };
}

function checkRecords(layout: Layout, path: string, bytes: Uint8Array, maxRecords: number): void {
  const recordSize = layout.labels.length + imageSize;
  const records = bytes.length / recordSize;
  const expected = `${path}: expected 1 to ${maxRecords} records of ${recordSize} bytes (${layout.name})`;
  check(records > 0, 'FILE_CORRUPT', `${expected}, but the file is empty`);
  check(
    Number.isInteger(records),
    'FILE_CORRUPT',
    () =>
      `${expected}, but its ${bytes.length} bytes are ${Math.floor(records)} records and ${bytes.length % recordSize} ` +
      'bytes: the file is truncated or something else',
  );
  check(records <= maxRecords, 'FILE_CORRUPT', () => `${expected}, but it has ${records}`);
  for (const [offset, { name, classes }] of layout.labels.entries()) {
    for (let record = 0; record < records; record++) {
      const label = bytes[record * recordSize + offset]!;
      check(
        label < classes,
        'FILE_CORRUPT',
        () => `${path}: expected a ${name} of 0 to ${classes - 1} (${layout.name}), but record ${record} has ${label}`,
      );
    }
  }
}

async function readNames(path: string, count: number): Promise<string[]> {
  const text = new TextDecoder().decode(await readWholeFile(path, 'a file of class names', 2 ** 20));
  const names = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  check(
    names.length === count,
    'FILE_CORRUPT',
    `${path}: expected ${count} class names, one a line, got ${names.length}`,
  );
  return names;
}

function describe(set: ImageSet, files: readonly string[], official: number, what: string): string {
  const part = set.count < official ? ` of the official ${formatCount(official)}` : '';
  return `${formatCount(set.count)}${part} ${what} images (${files.join(', ')})`;
}
