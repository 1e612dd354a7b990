import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { cifar100ClassNames } from '../../lib/data/cifar100-names.js';
import {
  cacheFolder,
  type Dataset,
  type DatasetName,
  fashionMnistFolder,
  limit,
  loadCifar10,
  loadCifar100,
  loadFashionMnist,
  openDataset,
  perPixelMean,
  syntheticDataset,
} from '../../lib/data/index.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-data-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

let folders = 0;
/** A new folder with these files. */
async function folderOf(files: Record<string, Uint8Array | string>): Promise<string> {
  const folder = join(root, String(folders++));
  await mkdir(folder);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

const imageSize = 3072;
/** CIFAR records: record i has these label bytes, and pixel p is i + p modulo 251. */
function records(labels: readonly (readonly number[])[]): Uint8Array {
  return Uint8Array.from(
    labels.flatMap((bytes, i) => [...bytes, ...Array.from({ length: imageSize }, (_, p) => (i + p) % 251)]),
  );
}

test('CIFAR-10: labels, pixels in their planes, names, batches in order', async (t) => {
  const dir = await folderOf({
    'data_batch_1.bin': records([[3], [9]]),
    'data_batch_3.bin': records([[0]]),
    'test_batch.bin': records([[7]]),
    'batches.meta.txt': 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n',
  });
  const { train, test: tests, classNames, note, ...rest } = await loadCifar10(dir);
  t.deepEqual(rest, { name: 'cifar10', channels: 3, height: 32, width: 32 });
  t.deepEqual([...train.labels], [3, 9, 0]);
  t.is(train.count, 3);
  t.is(train.images.length, 3 * imageSize);
  t.is(train.images[imageSize], 1);
  t.is(train.images[2 * imageSize + 300], 300 % 251);
  t.deepEqual([...tests.labels], [7]);
  t.is(classNames.join(''), 'abcdefghij');
  t.is(
    note,
    '3 of the official 50,000 training images (data_batch_1.bin, data_batch_3.bin) and ' +
      `1 of the official 10,000 test images (test_batch.bin) from ${dir}.`,
  );
});

test('CIFAR-100: the fine label counts; default names; the archive folder is found', async (t) => {
  const dir = await folderOf({});
  const inner = await folderOf({
    'train.bin': records([
      [19, 99],
      [0, 42],
    ]),
    'test.bin': records([[4, 0]]),
  });
  await cp(inner, join(dir, 'cifar-100-binary'), { recursive: true });
  const data = await loadCifar100(dir);
  t.deepEqual([...data.train.labels], [99, 42]);
  t.is(data.train.images[imageSize], 1);
  t.is(data.classNames[0], 'apple');
  t.is(new Set(cifar100ClassNames).size, 100);
  t.is(data.classNames[99], 'worm');
  t.deepEqual([...cifar100ClassNames].sort(), cifar100ClassNames, 'the official order is alphabetical');
});

const good = records([[1], [2]]);
const corrupt: [string, Record<string, Uint8Array | string>, RegExp][] = [
  [
    'truncated',
    { 'data_batch_1.bin': good.subarray(0, -1) },
    /data_batch_1\.bin: expected 1 to 10000 records of 3073 bytes.* 6145 bytes are 1 records and 3072 bytes/,
  ],
  ['empty', { 'test_batch.bin': '' }, /test_batch\.bin: .*the file is empty/],
  [
    'mislabelled',
    { 'test_batch.bin': records([[1], [10]]) },
    /test_batch\.bin: expected a label of 0 to 9 .*record 1 has 10/,
  ],
  ['oversized', { 'test_batch.bin': new Uint8Array(10_001 * 3073) }, /expected 1 to 10000 records .*it has 10001/],
  ['CIFAR-100', { 'data_batch_1.bin': records([[1, 2]]) }, /something else/],
  [
    'short of names',
    { 'batches.meta.txt': 'cat\ndog\n' },
    /batches\.meta\.txt: expected 10 class names, one a line, got 2/,
  ],
];
for (const [what, files, message] of corrupt) {
  test(`CIFAR-10 files that are ${what} are refused`, async (t) => {
    const dir = await folderOf({ 'data_batch_1.bin': good, 'test_batch.bin': good, ...files });
    await t.throwsAsync(loadCifar10(dir), { name: 'KalmanNormError', code: 'FILE_CORRUPT', message });
  });
}

test('CIFAR-100: a label out of its range is named', async (t) => {
  const coarse = await folderOf({ 'train.bin': records([[20, 0]]), 'test.bin': records([[0, 0]]) });
  await t.throwsAsync(loadCifar100(coarse), {
    code: 'FILE_CORRUPT',
    message: /coarse label of 0 to 19.*record 0 has 20/,
  });
  const fine = await folderOf({ 'train.bin': records([[0, 0]]), 'test.bin': records([[0, 100]]) });
  await t.throwsAsync(loadCifar100(fine), { code: 'FILE_CORRUPT', message: /test\.bin: .*fine label of 0 to 99.*100/ });
});

test('CIFAR-10: what is missing is named', async (t) => {
  const partial = await folderOf({ 'data_batch_1.bin': good });
  await t.throwsAsync(loadCifar10(partial), { code: 'FILE_NOT_FOUND', message: /but test_batch\.bin isn't in/ });
  const empty = await folderOf({});
  await t.throwsAsync(loadCifar10(empty), {
    code: 'FILE_NOT_FOUND',
    message: /neither is in .* or .*cifar-10-batches-bin/,
  });
});

/** A gzipped idx file with this header and these bytes. */
function idx(header: readonly number[], bytes: readonly number[]): Uint8Array {
  const file = new Uint8Array(4 * header.length + bytes.length);
  header.forEach((value, i) => {
    new DataView(file.buffer).setUint32(4 * i, value);
  });
  file.set(bytes, 4 * header.length);
  return new Uint8Array(gzipSync(file));
}
const pixels = (count: number) => Array.from({ length: count * 784 }, (_, p) => (p % 255) + 1);
const smallFashion = {
  'train-images-idx3-ubyte.gz': idx([0x803, 2, 28, 28], pixels(2)),
  'train-labels-idx1-ubyte.gz': idx([0x801, 2], [9, 0]),
  't10k-images-idx3-ubyte.gz': idx([0x803, 1, 28, 28], pixels(1)),
  't10k-labels-idx1-ubyte.gz': idx([0x801, 1], [4]),
};

test('Fashion-MNIST is padded by two zeros and repeated for three channels', async (t) => {
  const { train, test: tests, ...rest } = await loadFashionMnist(await folderOf(smallFashion));
  t.like(rest, { name: 'fashion-mnist', channels: 3, height: 32, width: 32 });
  t.deepEqual([...train.labels], [9, 0]);
  t.deepEqual([...tests.labels], [4]);
  const source = pixels(2);
  for (let i = 0; i < 2; i++) {
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < 32; y++) {
        for (let x = 0; x < 32; x++) {
          const inside = x >= 2 && x < 30 && y >= 2 && y < 30;
          const expected = inside ? source[(i * 28 + y - 2) * 28 + x - 2] : 0;
          if (train.images[((i * 3 + c) * 32 + y) * 32 + x] !== expected) return t.fail(`image ${i}, ${c}, ${y}, ${x}`);
        }
      }
    }
  }
  return t.pass();
});

const corruptFashion: [string, string, Uint8Array | string, RegExp][] = [
  ['gzip', 'train-images-idx3-ubyte.gz', 'no gzip', /expected gzip data/],
  [
    'the end of the gzip stream',
    'train-images-idx3-ubyte.gz',
    idx([0x803, 2, 28, 28], pixels(2)).subarray(0, -9),
    /expected gzip data/,
  ],
  ['an idx header', 't10k-labels-idx1-ubyte.gz', idx([0x801], []), /idx header of 8 bytes, but the file has 4/],
  ['the magic number', 't10k-labels-idx1-ubyte.gz', idx([0x803, 1], [1]), /magic number 2049, got 2051/],
  [
    'the size of images',
    't10k-images-idx3-ubyte.gz',
    idx([0x803, 1, 32, 32], pixels(1)),
    /images of 28 x 28 pixels, got 32 x 32/,
  ],
  [
    'the length',
    't10k-images-idx3-ubyte.gz',
    idx([0x803, 2, 28, 28], pixels(1)),
    /expected 1584 bytes for the 2 items.* got 800/,
  ],
  ['a count', 't10k-labels-idx1-ubyte.gz', idx([0x801, 0], []), /at least one item/],
  [
    'one label an image',
    'train-labels-idx1-ubyte.gz',
    idx([0x801, 3], [1, 2, 3]),
    /expected 2 labels, one an image, got 3/,
  ],
  ['labels in range', 'train-labels-idx1-ubyte.gz', idx([0x801, 2], [1, 10]), /label 1 is 10/],
];
for (const [what, name, content, message] of corruptFashion) {
  test(`Fashion-MNIST without ${what} is refused`, async (t) => {
    const dir = await folderOf({ ...smallFashion, [name]: content });
    await t.throwsAsync(loadFashionMnist(dir), { name: 'KalmanNormError', code: 'FILE_CORRUPT', message });
  });
}

test('the mean image is that of training and test images together, in double precision', (t) => {
  fc.assert(
    fc.property(
      fc.nat(5),
      fc.nat(5),
      fc.integer({ min: 1, max: 4 }),
      fc.nat(1000),
      (trainCount, testCount, size, seed) => {
        const count = trainCount + testCount;
        fc.pre(count > 0);
        const part = (from: number, length: number) => ({
          images: Uint8Array.from({ length: length * size }, (_, i) => ((from * size + i) * 37 + seed) % 256),
          labels: new Uint8Array(length),
          count: length,
        });
        const data: Dataset = {
          name: 'x',
          classNames: ['a'],
          channels: 1,
          height: 1,
          width: size,
          train: part(0, trainCount),
          test: part(trainCount, testCount),
        };
        const all = [...data.train.images, ...data.test.images];
        const expected = Float32Array.from({ length: size }, (_, p) => {
          const values = all.filter((_, i) => i % size === p);
          return values.reduce((a, b) => a + b, 0) / count;
        });
        t.deepEqual(perPixelMean(data), expected);
      },
    ),
  );
  const none = { images: new Uint8Array(0), labels: new Uint8Array(0), count: 0 };
  t.throws(() => perPixelMean({ ...syntheticDataset({ train: 1, test: 1 }), train: none, test: none }), {
    code: 'INVALID_ARGUMENT',
  });
});

test('limit takes the first images without a copy, says so, and keeps all where the limit is higher', (t) => {
  const data = syntheticDataset({ train: 30, test: 20, size: 4 });
  const limited = limit(data, { train: 3, test: 100 });
  t.is(limited.train.count, 3);
  t.is(limited.train.images.length, 3 * 48);
  t.true(limited.train.images.buffer === data.train.images.buffer);
  t.deepEqual([...limited.train.labels], [0, 1, 2]);
  t.is(limited.test.count, 20);
  t.true(limited.note?.endsWith('Limited to the first 3 of 30 training images.'));
  t.is(limit(data, {}), data);
  for (const train of [0, -1, 1.5, Number.NaN]) {
    t.throws(() => limit(data, { train }), {
      code: 'INVALID_ARGUMENT',
      message: new RegExp(`limit.train.*got ${train}`),
    });
  }
  t.throws(() => limit(data, { test: 0 }), { code: 'INVALID_ARGUMENT', message: /limit.test/ });
});

test('the synthetic set follows its seed and is balanced', (t) => {
  const options = { classes: 4, train: 12, test: 8, size: 16 };
  const a = syntheticDataset({ ...options, seed: 5 });
  t.deepEqual(syntheticDataset({ ...options, seed: 5 }), a);
  t.notDeepEqual(syntheticDataset({ ...options, seed: 6 }).train.images, a.train.images);
  t.notDeepEqual(a.train.images.subarray(0, 8 * 768), a.test.images);
  t.deepEqual([...a.train.labels], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
  t.is(a.classNames.length, 4);
});

test('the classes of the synthetic set can be told apart, but not by the mean colour', (t) => {
  const data = syntheticDataset({ classes: 10, train: 400, test: 1, size: 16, noise: 0 });
  const plane = 256;
  // Without noise, the strength of the three channels is the class's colour; the phase makes the mean grey.
  const colour = (i: number) =>
    [0, 1, 2].map((c) => {
      const values = data.train.images.subarray((i * 3 + c) * plane, (i * 3 + c + 1) * plane);
      return Math.sqrt(values.reduce((sum, v) => sum + (v - 128) ** 2, 0) / plane);
    });
  const distance = (a: number[], b: number[]) => Math.hypot(...a.map((v, i) => v - b[i]!));
  const centres = Array.from({ length: 10 }, (_, i) => colour(i));
  for (let i = 10; i < 400; i++) {
    const own = colour(i);
    const nearest = centres.reduce((best, c, k) => (distance(c, own) < distance(centres[best]!, own) ? k : best), 0);
    if (nearest !== i % 10) return t.fail(`image ${i} of class ${i % 10} looks like class ${nearest}`);
  }
  return t.pass();
});

for (const [option, value] of [
  ['classes', 1],
  ['classes', 257],
  ['train', 0],
  ['test', 2.5],
  ['size', 3],
  ['noise', -1],
  ['noise', Number.NaN],
  ['seed', -1],
] as const) {
  test(`the synthetic set refuses ${option} = ${value}`, (t) => {
    const message = new RegExp(`^${option}: expected .* got ${value}`);
    t.throws(() => syntheticDataset({ [option]: value }), { code: 'INVALID_ARGUMENT', message });
  });
}

test.serial('openDataset looks in the given folder, then in the cache, and says where it looked', async (t) => {
  const before = process.env.XDG_CACHE_HOME;
  t.teardown(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  });
  const cache = await folderOf({});
  process.env.XDG_CACHE_HOME = cache;
  t.is(cacheFolder(), join(cache, 'kalman-norm'));
  const empty = await folderOf({});
  const error = await t.throwsAsync(openDataset({ name: 'cifar10', dataDir: empty }), { code: 'FILE_NOT_FOUND' });
  t.true(error.message.includes(`${empty} or ${cacheFolder()}`));
  t.regex(error.message, /cs\.toronto\.edu.*cifar-10-binary\.tar\.gz.*dataDir/);

  await mkdir(cacheFolder());
  await cp(
    await folderOf({ 'data_batch_1.bin': good, 'test_batch.bin': good }),
    join(cacheFolder(), 'cifar-10-batches-bin'),
    {
      recursive: true,
    },
  );
  t.deepEqual([...(await openDataset({ name: 'cifar10', dataDir: empty })).train.labels], [1, 2]);
  const given = await folderOf({ 'data_batch_1.bin': records([[5]]), 'test_batch.bin': good });
  t.deepEqual([...(await openDataset({ name: 'cifar10', dataDir: given })).train.labels], [5]);

  // Half a data set in the given folder isn't passed over for the one in the cache.
  const half = await folderOf({ 'test_batch.bin': good });
  await t.throwsAsync(openDataset({ name: 'cifar10', dataDir: half }), {
    code: 'FILE_NOT_FOUND',
    message: /data_batch_1/,
  });

  process.env.XDG_CACHE_HOME = 'relative';
  t.regex(cacheFolder(), /^\/.*\.cache\/kalman-norm$/);
});

test('openDataset knows the synthetic set, and no others than it says', async (t) => {
  const data = await openDataset({ name: 'synthetic', synthetic: { train: 5, test: 2, size: 8 } });
  t.is(data.train.count, 5);
  await t.throwsAsync(openDataset({ name: 'mnist' as DatasetName }), {
    code: 'INVALID_ARGUMENT',
    message: /fashion-mnist.*got "mnist"/,
  });
});

const realCifar = fileURLToPath(new URL('../../../shared/data/cifar10-small', import.meta.url));
if (existsSync(realCifar)) {
  test('real CIFAR-10 is read: balanced classes, plausible mean image', async (t) => {
    const data = await openDataset({ name: 'cifar10', dataDir: realCifar });
    t.is(data.train.count, 10_000);
    t.is(data.test.count, 2_000);
    t.is(data.classNames[0], 'airplane');
    t.is(data.test.labels.filter((label) => label === 3).length, 200);
    const mean = perPixelMean(data);
    const planes = [0, 1, 2].map((c) => mean.subarray(c * 1024, (c + 1) * 1024).reduce((a, b) => a + b) / 1024);
    // The known means of the three channels of CIFAR-10, to two grey levels for the sample.
    for (const [c, known] of [125.3, 123.0, 113.9].entries()) t.true(Math.abs(planes[c]! - known) < 2, `${planes}`);
  });
} else {
  test.skip(`SKIPPED, no folder ${realCifar}: real CIFAR-10 is read`, () => {});
}

if (existsSync(fashionMnistFolder)) {
  test('real Fashion-MNIST is read: balanced classes, plausible mean', async (t) => {
    const data = await openDataset({ name: 'fashion-mnist' });
    t.is(data.train.count, 60_000);
    t.is(data.test.count, 10_000);
    t.is(data.train.labels.filter((label) => label === 7).length, 6_000);
    const mean = perPixelMean(data).reduce((a, b) => a + b) / 3072;
    // The known mean of Fashion-MNIST is 72.94 over 28 x 28 pixels.
    t.true(Math.abs((mean * 1024) / 784 - 72.94) < 0.2, `${mean}`);
  });
} else {
  test.skip(`SKIPPED, no folder ${fashionMnistFolder} (apt-get install dataset-fashion-mnist): real Fashion-MNIST`, () => {});
}
