import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { type ConversionProgress, type ImageFolder, openImageFolder } from '../lib/index.js';
import { seeded } from './support/devices.js';
import type { TestRandom } from './support/random.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-images-'));
test.after.always(() => rm(root, { recursive: true, force: true }));
let count = 0;

/** An image file of raw pixels, [height, width, channels]. */
function encode(pixels: Uint8Array, width: number, height: number, file: string, channels: 3 | 4 = 3) {
  const image = sharp(pixels, { raw: { width, height, channels } });
  if (file.endsWith('.webp')) return image.webp({ lossless: true }).toBuffer();
  return file.endsWith('.png')
    ? image.png().toBuffer()
    : image.jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
}

const noise = (random: TestRandom, size: number) => Uint8Array.from({ length: size }, () => random.below(256));

/** Writes files into a new folder. */
async function folderOf(files: Record<string, Uint8Array | string>): Promise<string> {
  const folder = join(root, String(count++));
  await mkdir(folder);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

async function pixelsOf(source: ImageFolder, indices: number[]): Promise<Uint8Array> {
  const into = new Uint8Array(indices.length * source.channels * source.height * source.width);
  await source.read(Int32Array.from(indices), into);
  return into;
}

/** [height, width, 3] to [3, height, width]. */
const planes = (pixels: Uint8Array) => {
  const size = pixels.length / 3;
  return Uint8Array.from({ length: pixels.length }, (_, k) => pixels[(k % size) * 3 + Math.floor(k / size)]!);
};

const size = { width: 5, height: 4 };

test('PNG, WebP and JPEG become planes of pixels, in the order of the names, read in any order', async (t) => {
  await seeded(t, 'formats', async (random) => {
    const names = ['cat/a.png', 'cat/deeper/b.webp', 'dog/c.PNG', 'dog/d.jpg'];
    const raw = names.map(() => noise(random, 60));
    // A smooth picture, as JPEG has an error.
    raw[3] = Uint8Array.from({ length: 60 }, (_, i) => 100 + Math.floor(i / 3));
    const files: Record<string, Uint8Array> = {};
    for (const [i, name] of names.entries()) files[name] = await encode(raw[i]!, 5, 4, name.toLowerCase());
    const folder = await folderOf({ ...files, 'dog/notes.txt': 'x', 'readme.png': 'no class', '.hidden/a.png': 'x' });
    const source = await openImageFolder(folder, size);
    t.deepEqual([...source.labels], [0, 0, 1, 1]);
    t.like(source, { classNames: ['cat', 'dog'], channels: 3, height: 4, width: 5, skipped: [] });
    for (const order of [[0, 1, 2], [2, 0, 1], [1, 1], []]) {
      const expected = order.flatMap((i) => [...planes(raw[i]!)]);
      t.deepEqual([...(await pixelsOf(source, order))], expected);
    }
    const jpeg = await pixelsOf(source, [3]);
    const exact = planes(raw[3]!);
    t.true(jpeg.every((value, i) => Math.abs(value - exact[i]!) <= 6));
    await source.close();
  });
});

test('images of another size are cut or stretched, turned by EXIF, made grey; transparency is black', async (t) => {
  // Left half red, right half blue, 8 x 4.
  const red = (x: number) => x < 4;
  const wide = Uint8Array.from({ length: 96 }, (_, k) =>
    k % 3 === 1 ? 0 : red(Math.floor(k / 3) % 8) === (k % 3 === 0) ? 255 : 0,
  );
  const clear = Uint8Array.from({ length: 64 }, (_, k) => (k % 4 === 3 ? 0 : 200));
  const sideways = await sharp(wide, { raw: { width: 8, height: 4, channels: 3 } })
    .withMetadata({ orientation: 6 })
    .png()
    .toBuffer();
  const folder = await folderOf({
    'a/clear.png': await encode(clear, 4, 4, '.png', 4),
    'a/turned.png': sideways,
    'b/wide.png': await encode(wide, 8, 4, '.png'),
  });
  const square = { width: 4, height: 4, cache: join(root, 'cache', String(count++)) };
  const source = await openImageFolder(folder, square);
  t.true((await pixelsOf(source, [0])).every((value) => value === 0));
  const turned = await pixelsOf(source, [1]);
  // Orientation 6: what is stored on the left is on top.
  t.deepEqual([turned[1], turned[13], turned[33], turned[45]], [255, 0, 0, 255]);
  const cut = await pixelsOf(source, [2]);
  t.deepEqual([cut[0], cut[3], cut[32], cut[35]], [255, 0, 0, 255]);
  await source.close();
  const grey = await openImageFolder(folder, { ...square, channels: 1, fit: 'fill' });
  t.is((await pixelsOf(grey, [0, 1, 2])).length, 48);
  await grey.close();
});

test('the conversion is done once, and again where something has changed or is damaged', async (t) => {
  await seeded(t, 'cache', async (random) => {
    const image = () => encode(noise(random, 60), 5, 4, '.png');
    const folder = await folderOf({ 'a/1.png': await image(), 'b/1.png': await image(), 'b/2.png': await image() });
    const seen: ConversionProgress[] = [];
    const open = async (options = {}) => {
      seen.length = 0;
      const source = await openImageFolder(folder, {
        ...size,
        ...options,
        onProgress: (progress) => seen.push(progress),
      });
      const pixels = await pixelsOf(source, [...source.labels.keys()]);
      await source.close();
      return pixels;
    };
    const first = await open();
    t.deepEqual(seen, [{ done: 3, total: 3, skipped: 0 }]);
    t.deepEqual(await open(), first);
    t.deepEqual(seen, []);
    t.deepEqual((await readdir(join(folder, '.kalman-norm'))).sort(), ['images.bin', 'images.json']);

    await open({ width: 6 });
    t.is(seen.length, 1);
    await open();
    t.is(seen.length, 1);
    await writeFile(join(folder, 'a/2.png'), await image());
    t.is((await open()).length, 240);
    t.is(seen.length, 1);
    await truncate(join(folder, '.kalman-norm/images.bin'), 100);
    t.is((await open()).length, 240);
    t.is(seen.length, 1);
    const path = join(folder, '.kalman-norm/images.json');
    const index = JSON.parse(await readFile(path, 'utf8'));
    const damaged = [{ labels: [0, 0, 1, 2] }, { labels: { length: 4 } }, { labels: [0, 0, 1, 0.5] }, { skipped: [0] }];
    for (const text of ['{', 'null', ...damaged.map((parts) => JSON.stringify({ ...index, ...parts }))]) {
      await writeFile(path, text);
      t.is((await open()).length, 240);
      t.is(seen.length, 1, text);
    }
  });
});

test('files that cannot be read are skipped, counted and listed', async (t) => {
  await seeded(t, 'corrupt', async (random) => {
    const good = await encode(noise(random, 60), 5, 4, '.png');
    const big = await encode(noise(random, 64 * 64 * 3), 64, 64, '.jpg');
    const folder = await folderOf({
      'a/good.png': good,
      'a/no-image.png': 'text',
      'a/empty.webp': '',
      'b/cut.jpg': big.subarray(0, big.length / 2),
      'b/good.png': good,
    });
    await symlink('nowhere', join(folder, 'b/link.png'));
    const progress: ConversionProgress[] = [];
    const source = await openImageFolder(folder, { ...size, onProgress: (p) => progress.push(p) });
    t.deepEqual([...source.labels], [0, 1]);
    t.deepEqual(
      source.skipped.map(({ file }) => file),
      ['a/empty.webp', 'a/no-image.png', 'b/cut.jpg', 'b/link.png'],
    );
    t.true(source.skipped.every(({ reason }) => reason.length > 5 && !reason.includes('\n')));
    t.deepEqual(progress, [{ done: 6, total: 6, skipped: 4 }]);
    t.regex(source.note ?? '', /2 images of 2 classes from .*; 4 files that can't be read were left out/);
    await source.close();
    // The list is kept with the converted images.
    const again = await openImageFolder(folder, size);
    t.is(again.skipped.length, 4);
    await again.close();
  });
});

test('folders that are no data set are refused', async (t) => {
  const png = await encode(new Uint8Array(60), 5, 4, '.png');
  const refused = async (folder: string, code: string, message: RegExp, options: object = {}) =>
    t.throwsAsync(openImageFolder(folder, options), { code, message } as object, String(message));
  await refused(join(root, 'absent'), 'FILE_NOT_FOUND', /no folder .*absent/);
  await refused(await folderOf({ 'a/notes.txt': 'x' }), 'FILE_NOT_FOUND', /one folder a class.*found none/);
  await refused(await folderOf({ 'loose.png': png }), 'FILE_NOT_FOUND', /found none/);
  await refused(await folderOf({ 'cat/1.png': png }), 'INVALID_ARGUMENT', /at least 2 classes.*"cat" only/);
  const unreadable = await folderOf({ 'a/1.png': png, 'b/1.png': 'text' });
  await refused(unreadable, 'FILE_CORRUPT', /class "b" can be read: b\/1\.png \(/);
  t.deepEqual(await readdir(join(unreadable, '.kalman-norm')), [], 'nothing half done');
  const good = await folderOf({ 'a/1.png': png, 'b/1.png': png });
  await refused(good, 'INVALID_ARGUMENT', /height.*got 0/, { height: 0 });
  await refused(good, 'INVALID_ARGUMENT', /channels.*got 2/, { channels: 2 });
  await refused(good, 'INVALID_ARGUMENT', /fit.*"crop"/, { fit: 'crop' });
  await t.throwsAsync(openImageFolder(good, { ...size, signal: AbortSignal.abort() }), {
    any: true,
    name: 'AbortError',
  } as object);
  t.deepEqual(await readdir(join(good, '.kalman-norm')), []);
});

test('sharp is an optional peer of this package, and runs no install script', async (t) => {
  const read = async (path: string) => JSON.parse(await readFile(new URL(path, import.meta.url), 'utf8'));
  const ours = await read('../package.json');
  t.is(ours.dependencies?.sharp, undefined);
  t.true(ours.peerDependenciesMeta.sharp.optional);
  const { packages } = await read('../package-lock.json');
  const installed = Object.entries<{ hasInstallScript?: boolean }>(packages).filter(([path]) =>
    /\/(@img|sharp)/.test(path),
  );
  t.true(installed.length > 20, 'every platform');
  t.true(installed.every(([, { hasInstallScript }]) => hasInstallScript !== true));
});
