import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { drawImageNet } from '../../experiments/pretend-imagenet.js';
import { randomCrop } from '../../lib/data/decode-images.js';
import {
  decodeImages,
  type EncodedImages,
  listImageFolder,
  openImageSplits,
  openWebDataset,
  verifyImages,
} from '../../lib/index.js';
import { seeded } from '../support/devices.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-encoded-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const options = { classes: 3, train: 11, val: 2, size: 48, seed: 1 };
const drawn = (async () => {
  const folders = join(root, 'folders');
  const tars = join(root, 'tars');
  await drawImageNet(folders, { ...options, format: 'folders' });
  await drawImageNet(tars, { ...options, format: 'tars' });
  return { folders, tars };
})();

let copies = 0;
async function copyOf(format: 'folders' | 'tars'): Promise<string> {
  const folder = join(root, `copy-${copies++}`);
  await cp((await drawn)[format], folder, { recursive: true });
  return folder;
}

async function pixelsOf(images: EncodedImages, indices: readonly number[], epoch?: number, seed = 5) {
  const source = await decodeImages(images, { size: 24, crop: 'random', seed });
  const into = new Uint8Array(indices.length * 3 * 24 * 24);
  await source.read(Int32Array.from(indices), into, epoch);
  return Buffer.from(into);
}

test('folders and tars of the same images are the same source', async (t) => {
  const { folders, tars } = await drawn;
  const [a, b] = [await openImageSplits(folders), await openImageSplits(tars)];
  for (const part of ['train', 'val'] as const) {
    t.deepEqual(a[part].labels, b[part].labels);
    t.deepEqual(a[part].classNames, b[part].classNames);
    const all = [...a[part].labels.keys()];
    t.deepEqual(await pixelsOf(a[part], all, 1), await pixelsOf(b[part], all, 1));
  }
  t.is(a.train.labels.length, 33);
  t.regex(b.val.note, /^6 images of 3 classes from 1 tar in /);
  t.regex(b.train.nameOf(1), /train-000000\.tar: n00000_0001\.jpg$/);
  await Promise.all([a, b].flatMap(({ train, val }) => [train.close(), val.close()]));
});

test('crops follow seed, epoch and image, not what is read beside it', async (t) => {
  const { train, val } = await openImageSplits((await drawn).folders);
  const first = await pixelsOf(train, [4, 9, 2], 1);
  t.deepEqual(
    await pixelsOf(train, [2, 4, 9], 1),
    Buffer.concat([2, 0, 1].map((i) => first.subarray(i * 1728, (i + 1) * 1728))),
  );
  t.notDeepEqual(await pixelsOf(train, [4, 9, 2], 2), first);
  t.notDeepEqual(await pixelsOf(train, [4, 9, 2], 1, 6), first);
  // For no epoch, the middle.
  const middle = await pixelsOf(train, [4, 9, 2]);
  t.deepEqual(await pixelsOf(train, [4, 9, 2], undefined, 6), middle);
  await Promise.all([train.close(), val.close()]);
});

test('the middle is resized and cut as sharp says, and large crops are those of the whole image', async (t) => {
  const folder = join(root, 'large');
  await mkdir(join(folder, 'a'), { recursive: true });
  await mkdir(join(folder, 'b'), { recursive: true });
  // A ramp along both sides: a crop's pixels say where it was.
  const [width, height] = [400, 300];
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, k) => {
    const i = Math.floor(k / 3);
    return [((i % width) * 255) / width, (Math.floor(i / width) * 255) / height, 128][k % 3]!;
  });
  const jpeg = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
    .toBuffer();
  for (const name of ['a', 'b']) await writeFile(join(folder, name, '0.jpg'), jpeg);
  const images = await listImageFolder(folder);
  const read = async (crop: 'middle' | 'random', epoch?: number) => {
    const source = await decodeImages(images, { size: 32, shorter: 40, crop, seed: 3 });
    const into = new Uint8Array(3 * 32 * 32);
    await source.read(Int32Array.of(0), into, epoch);
    return into;
  };
  // 300 pixels become 40: the middle 240 × 240 of 400 × 300 begins at 80, 30.
  const middle = await read('middle');
  const at = (image: Uint8Array, c: number, y: number, x: number) => image[(c * 32 + y) * 32 + x]!;
  const expected = (from: number, span: number, i: number, length: number) =>
    ((from + (span * (i + 0.5)) / 32) * 255) / length;
  for (const i of [0, 15, 31]) {
    t.true(Math.abs(at(middle, 0, 7, i) - expected(80, 240, i, width)) < 3);
    t.true(Math.abs(at(middle, 1, i, 7) - expected(30, 240, i, height)) < 3);
  }
  // Every crop's ramps are straight, and start and end inside the image.
  for (let epoch = 1; epoch <= 20; epoch++) {
    const crop = await read('random', epoch);
    for (const c of [0, 1]) {
      const value = (i: number) => (c === 0 ? at(crop, 0, 16, i) : at(crop, 1, i, 16));
      t.true(value(31) > value(0), `epoch ${epoch}`);
      t.true(Math.abs(value(16) - (value(0) + ((value(31) - value(0)) * 16) / 31)) < 3, `epoch ${epoch}, ${c}`);
    }
  }
});

test('random crops have the areas and ratios that torchvision draws, inside the image', async (t) => {
  await seeded(t, 'crops', async (random) => {
    const draw = () => (random.below(2 ** 31) + 0.5) / 2 ** 31;
    for (let i = 0; i < 2000; i++) {
      const [width, height] = [100 + random.below(400), 100 + random.below(400)];
      const crop = randomCrop(width, height, [0.08, 1], draw);
      t.true(crop.left >= 0 && crop.top >= 0 && crop.left + crop.width <= width && crop.top + crop.height <= height);
      const ratio = crop.width / crop.height;
      t.true(ratio > 0.73 && ratio < 1.37, `${crop.width} × ${crop.height}`);
      t.true((crop.width * crop.height) / (width * height) > 0.075);
    }
    // None of the ratios fits at this area: the largest that does, from the middle.
    t.deepEqual(randomCrop(400, 100, [1, 1], draw), { width: 133, height: 100, left: 133, top: 0 });
    t.deepEqual(randomCrop(100, 400, [1, 1], draw), { width: 100, height: 133, left: 0, top: 133 });
  });
});

test('decoders and threads that are none are refused', async (t) => {
  const { train, val } = await openImageSplits((await drawn).folders);
  const refused = async (options: object, message: RegExp) =>
    t.throwsAsync(decodeImages(train, options), { code: 'INVALID_ARGUMENT', message } as object);
  await refused({ decoder: 'libvips' }, /decoder must be "auto", "native" or "sharp", got "libvips"/);
  await refused({ threads: 0 }, /threads must be a whole number from 1 to 1024, got 0/);
  await refused({ parallel: 0.5 }, /parallel must be a whole number from 1 to 4096, got 0\.5/);
  const source = await decodeImages(train, { decoder: 'sharp', size: 8 });
  t.is(source.decoder, 'sharp');
  await t.throwsAsync(async () => source.read(Int32Array.of(0, 1), new Uint8Array(3 * 8 * 8)), {
    code: 'SHAPE_MISMATCH',
    message: /expected room for 2 × 192 bytes, got 192/,
  } as object);
  await Promise.all([train.close(), val.close()]);
});

test('folders that are wrong are refused before an image is read', async (t) => {
  const refused = async (folder: string, code: string, message: RegExp) =>
    t.throwsAsync(openImageSplits(folder), { code, message } as object);
  await refused(join(root, 'none'), 'FILE_NOT_FOUND', /there is no folder .*none\/train: expected train and val/);
  const empty = await copyOf('folders');
  await mkdir(join(empty, 'train', 'n00009'));
  await refused(empty, 'FILE_NOT_FOUND', /found none in .*train\/n00009/);
  const extra = await copyOf('folders');
  await cp(join(extra, 'val', 'n00000'), join(extra, 'val', 'n00007'), { recursive: true });
  await refused(extra, 'INVALID_ARGUMENT', /"n00007" is among the validation images, but not/);
  const missing = await copyOf('folders');
  await rm(join(missing, 'val', 'n00001'), { recursive: true });
  await refused(missing, 'INVALID_ARGUMENT', /"n00001" is among the training images, but not/);
});

test('damaged images are named, with the cause', async (t) => {
  const folder = await copyOf('folders');
  const cut = join(folder, 'train', 'n00001', 'n00001_0003.JPEG');
  await truncate(cut, 700);
  await writeFile(join(folder, 'train', 'n00002', 'n00002_0000.JPEG'), 'no image');
  const { train, val } = await openImageSplits(folder);
  const index = [...train.labels.keys()].find((i) => train.nameOf(i) === cut)!;
  await t.throwsAsync(pixelsOf(train, [0, index, 1], 1), {
    code: 'FILE_CORRUPT',
    // libvips keeps one error text for all threads: beside other images it may be lost, so none is asked for.
    message: /n00001_0003\.JPEG: the image can't be decoded: ./,
  } as object);
  await t.throwsAsync(verifyImages(train), {
    code: 'FILE_CORRUPT',
    message: /n00001_0003\.JPEG: .*; 1 more can't be decoded/,
  } as object);
  await verifyImages(val);
});

test('tars that are cut, no tars, or lack classes are refused, naming tar and entry', async (t) => {
  const { tars } = await drawn;
  const bytes = await readFile(join(tars, 'val', 'val-000000.tar'));
  const refused = async (content: Uint8Array, message: RegExp) => {
    const folder = join(root, `tar-${copies++}`);
    await mkdir(folder);
    await writeFile(join(folder, '0.tar'), content);
    await t.throwsAsync(openWebDataset(folder), { code: 'FILE_CORRUPT', message } as object);
  };
  await refused(
    bytes.subarray(0, 700),
    /0\.tar: expected a tar of images, but it is truncated, in or behind n00000_0000\.jpg/,
  );
  // Between two entries: nothing but the end is missing.
  const image = 512 + Math.ceil(Number.parseInt(bytes.toString('latin1', 124, 135), 8) / 512) * 512;
  await refused(bytes.subarray(0, image + 1024), /its end is missing\), in or behind n00000_0000\.cls/);
  await refused(bytes.subarray(0, image), /0\.tar: .*its end is missing/);
  await refused(Buffer.alloc(5000, 'no tar'), /0\.tar: expected a tar of images, but it can't be read \(.*header/i);
  await refused(Buffer.alloc(10240), /expected images in the tars, found none/);
  const wrong = Buffer.from(bytes);
  wrong[image + 512] = 'x'.charCodeAt(0);
  await refused(wrong, /expected the number of a class in n00000_0000\.cls, got "x"/);
  wrong[image + 512] = '8'.charCodeAt(0);
  await refused(wrong, /expected images of each class, found none of class 3/);
  for (let at = 0; at < 3; at++) wrong.write('.txt', image + 'n00000_0000'.length);
  // The checksum is the sum of the header's bytes: x, t for c, l and t for s.
  const header = wrong.subarray(image, image + 512);
  header.write('        ', 148);
  header.write(
    `${header
      .reduce((a, b) => a + b, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  await refused(wrong, /expected the number of a class in n00000_0000\.cls, found no such file/);
  // What grows or shrinks while it is open is found out by its image.
  const folder = await copyOf('tars');
  const { train, val } = await openImageSplits(folder);
  const [tar] = (await readdir(join(folder, 'train'))).filter((name) => name.endsWith('.tar'));
  await truncate(join(folder, 'train', tar!), 600);
  await t.throwsAsync(pixelsOf(train, [5], 1), {
    code: 'FILE_CORRUPT',
    message: /n00000_0005\.jpg: the tar has become shorter/,
  } as object);
  await Promise.all([train.close(), val.close()]);
});

test('names of classes that do not fit the labels are refused', async (t) => {
  const folder = await copyOf('tars');
  await writeFile(join(folder, 'val', 'classes.txt'), 'a\nb\n');
  await t.throwsAsync(openImageSplits(folder), {
    code: 'FILE_CORRUPT',
    message: /a name for each of 3 classes, found 2/,
  } as object);
  await appendFile(join(folder, 'val', 'classes.txt'), 'c\nd\n');
  await t.throwsAsync(openImageSplits(folder), { code: 'FILE_CORRUPT', message: /found none of class d/ } as object);
  await rm(join(folder, 'val', 'classes.txt'));
  await t.throwsAsync(openImageSplits(folder), {
    code: 'INVALID_ARGUMENT',
    message: /the class "0" is among the validation/,
  } as object);
});
