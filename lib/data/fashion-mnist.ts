/**
 * Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it: gzipped idx files of grey 28 x 28 images.
 *
 * Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
 * Algorithms", 2017; the idx format: http://yann.lecun.com/exdb/mnist/
 */

import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { readWholeFile } from '../io/read-file.js';
import { valuesOf } from '../shape.js';
import { type Dataset, formatCount, type ImageSet } from './dataset.js';

/** Where Debian's package puts the files. */
export const fashionMnistFolder = '/usr/share/datasets/fashion-mnist';

const classNames = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
];

const sourceSize = 28;
const paddedSize = 32;
const channels = 3;
/** Images of the larger file. What claims more is refused before its memory is taken. */
const maxCount = 60_000;

/**
 * Reads Fashion-MNIST in the format of CIFAR: the 28 x 28 grey images get a border of two zeros on every side, and
 * the grey plane is repeated for red, green and blue.
 *
 * @param dir the folder with `train-images-idx3-ubyte.gz` and its three companions.
 *   Default: {@link fashionMnistFolder}
 * @throws KalmanNormError `FILE_NOT_FOUND` where a file is missing; `FILE_CORRUPT` where it isn't gzip, its idx header
 *   isn't what it should be, its length doesn't fit the header, or a label is outside 0 to 9
 */
export async function loadFashionMnist(dir: string = fashionMnistFolder): Promise<Dataset> {
  const train = await readSet(dir, 'train');
  const test = await readSet(dir, 't10k');
  const note =
    `${formatCount(train.count)} training and ${formatCount(test.count)} test images of Fashion-MNIST from ${dir}, ` +
    'grey 28 x 28, padded to 32 x 32 and repeated for 3 channels.';
  return { name: 'fashion-mnist', classNames, channels, height: paddedSize, width: paddedSize, train, test, note };
}

async function readSet(dir: string, prefix: 'train' | 't10k'): Promise<ImageSet> {
  checkPath('the data set', dir);
  const imagesPath = join(dir, `${prefix}-images-idx3-ubyte.gz`);
  const labelsPath = join(dir, `${prefix}-labels-idx1-ubyte.gz`);
  const { count, values: pixels } = await readIdx(imagesPath, [sourceSize, sourceSize]);
  const { count: labelCount, values: labels } = await readIdx(labelsPath, []);
  check(
    labelCount === count,
    'FILE_CORRUPT',
    `${labelsPath}: expected ${count} labels, one an image, got ${labelCount}`,
  );
  const wrong = labels.findIndex((label) => label >= classNames.length);
  check(
    wrong < 0,
    'FILE_CORRUPT',
    () => `${labelsPath}: expected labels of 0 to 9, but label ${wrong} is ${labels[wrong]}`,
  );
  return { images: padAndRepeat(pixels, count), labels, count };
}

/** [count, 28, 28] to [count, 3, 32, 32]. */
function padAndRepeat(pixels: Uint8Array, count: number): Uint8Array {
  const border = (paddedSize - sourceSize) / 2;
  const planeSize = paddedSize * paddedSize;
  const images = new Uint8Array(count * channels * planeSize);
  for (let i = 0; i < count; i++) {
    const plane = i * channels * planeSize;
    for (let row = 0; row < sourceSize; row++) {
      const source = (i * sourceSize + row) * sourceSize;
      images.set(pixels.subarray(source, source + sourceSize), plane + (row + border) * paddedSize + border);
    }
    for (let c = 1; c < channels; c++) images.copyWithin(plane + c * planeSize, plane, plane + planeSize);
  }
  return images;
}

/** Reads a gzipped idx file of bytes: [count, ...itemShape]. */
async function readIdx(path: string, itemShape: readonly number[]) {
  const headerSize = 8 + 4 * itemShape.length;
  const itemSize = valuesOf(itemShape);
  const bytes = await unzip(path, headerSize + maxCount * itemSize);
  check(
    bytes.length >= headerSize,
    'FILE_CORRUPT',
    `${path}: expected an idx header of ${headerSize} bytes, but the file has ${bytes.length}`,
  );
  const header = new DataView(bytes.buffer, bytes.byteOffset, headerSize);
  // Two zeros, 8 for unsigned bytes, the number of dimensions.
  const magic = 0x800 + 1 + itemShape.length;
  check(
    header.getUint32(0) === magic,
    'FILE_CORRUPT',
    () => `${path}: expected the idx magic number ${magic}, got ${header.getUint32(0)}`,
  );
  const shape = itemShape.map((_, i) => header.getUint32(8 + 4 * i));
  check(
    shape.every((size, i) => size === itemShape[i]),
    'FILE_CORRUPT',
    () => `${path}: expected images of ${itemShape.join(' x ')} pixels, got ${shape.join(' x ')}`,
  );
  const count = header.getUint32(4);
  const expected = headerSize + count * itemSize;
  check(count > 0, 'FILE_CORRUPT', `${path}: expected at least one item, got none`);
  check(
    bytes.length === expected,
    'FILE_CORRUPT',
    `${path}: expected ${expected} bytes for the ${count} items of its header, got ${bytes.length}`,
  );
  return { count, values: bytes.subarray(headerSize) };
}

async function unzip(path: string, maxLength: number): Promise<Uint8Array> {
  const packed = await readWholeFile(path, 'a file of Fashion-MNIST', 2 * maxLength);
  try {
    const { buffer, byteOffset, byteLength } = await promisify(gunzip)(packed, { maxOutputLength: maxLength });
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (error) {
    const message = `${path}: expected gzip data of at most ${maxLength} bytes, but ${(error as Error).message}`;
    throw new KalmanNormError('FILE_CORRUPT', message, { cause: error });
  }
}
