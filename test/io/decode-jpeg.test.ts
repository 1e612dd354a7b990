import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import sharp, { type JpegOptions, type Sharp } from 'sharp';
import type { Crop } from '../../lib/io/crop.js';
import { openCropDecoder } from '../../lib/io/decode-crop.js';
import { jpegCrops } from '../../lib/io/decode-jpeg.js';
import { seeded } from '../support/devices.js';
import { photograph, resizedCrop } from '../support/pictures.js';
import { program } from '../support/program.js';
import type { TestRandom } from '../support/random.js';

// Built where libjpeg-turbo is, as a check of the whole project sees to (tools/system-packages.mjs).
const built = typeof jpegCrops({ size: 8, shorter: 8, threads: 1 }) !== 'string';
const native = (title: string, body: (t: ExecutionContext, random: TestRandom) => Promise<void>) =>
  (built ? test : test.skip)(title, (t) => seeded(t, title, (random) => body(t, random)));

/** Decodes one image, a part of it or the middle. */
async function decode(
  image: string | Buffer,
  {
    size,
    crop,
    decoder = 'native',
    ...options
  }: {
    size: number;
    crop?: Crop;
    decoder?: 'native' | 'sharp' | 'auto';
    shorter?: number;
    whole?: boolean;
  },
): Promise<Uint8Array> {
  const opened = await openCropDecoder('test', { size, shorter: size, decoder, threads: 2, ...options });
  // What isn't written would be seen.
  const into = new Uint8Array(3 * size * size).fill(77);
  await opened.decode(image, into, crop && (() => crop));
  return into;
}

/** A part of the least and the greatest side, somewhere in an image. */
function anyCrop(random: TestRandom, width: number, height: number, most = Infinity): Crop {
  const side = (length: number) => 1 + random.below(Math.min(length, most));
  const crop = { width: side(width), height: side(height) };
  return { ...crop, left: random.below(width - crop.width + 1), top: random.below(height - crop.height + 1) };
}

/** A JPEG with EXIF data, in either order of bytes, that says how it is turned. */
function turned(jpeg: Buffer, orientation: number, little: boolean): Buffer {
  const bytes = (value: number, length: number) => {
    const big = Buffer.alloc(length);
    big.writeUIntBE(value, 0, length);
    return little ? big.reverse() : big;
  };
  const entry = [bytes(0x0112, 2), bytes(3, 2), bytes(1, 4), bytes(orientation, 2), bytes(0, 2)];
  const directory = [bytes(8, 4), bytes(1, 2), ...entry, bytes(0, 4)];
  const exif = Buffer.concat([Buffer.from('Exif\0\0'), Buffer.from(little ? 'II' : 'MM'), bytes(42, 2), ...directory]);
  const head = Buffer.of(0xff, 0xe1, 0, exif.length + 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, exif, jpeg.subarray(2)]);
}

/** The whole image as sharp decodes it, turned to be seen: three bytes a pixel. */
const pixelsOf = (jpeg: Buffer) => sharp(jpeg).rotate().toColourspace('srgb').raw().toBuffer();

/** The greatest difference between bytes. */
const gap = (a: Uint8Array, b: ArrayLike<number>) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

/** Peak signal to noise, in dB. */
function psnr(a: Uint8Array, b: ArrayLike<number>): number {
  const error = a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / a.length;
  return 10 * Math.log10(255 ** 2 / error);
}

/** The same between a square image and itself a pixel further down, or to the right, whichever is less alike. */
function psnrOfShift(pixels: Uint8Array, size: number): number {
  const row = 3 * size;
  const left = pixels.filter((_, i) => i % row < row - 3);
  const right = pixels.filter((_, i) => i % row >= 3);
  return Math.min(psnr(pixels.subarray(row), pixels.subarray(0, -row)), psnr(right, left));
}

const kinds: readonly (JpegOptions & { grey?: boolean })[] = [
  { chromaSubsampling: '4:2:0' },
  { chromaSubsampling: '4:4:4' },
  { chromaSubsampling: '4:2:0', progressive: true },
  { chromaSubsampling: '4:4:4', progressive: true, quality: 60 },
  { grey: true },
];

native(
  'a part is that of the whole image, resized as a float64 reference has it, whatever the kind',
  async (t, random) => {
    for (let i = 0; i < 150; i++) {
      const [width, height] = [1 + random.below(200), 1 + random.below(200)];
      const { grey, ...options } = kinds[i % kinds.length]!;
      const drawing = sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } });
      const jpeg = await drawing
        .toColourspace(grey ? 'b-w' : 'srgb')
        .jpeg({ quality: 90, ...options })
        .toBuffer();
      const size = 8 + random.below(60);
      // Smaller than twice the size: all of the coefficients are used.
      const crop = anyCrop(random, width, height, 2 * size - 1);
      const expected = resizedCrop(await pixelsOf(jpeg), width, crop, size);
      const difference = gap(await decode(jpeg, { size, crop }), expected);
      // Half a step of rounding; floats may fall on its other side.
      t.true(difference <= 0.51, `${width} × ${height} ${JSON.stringify([options, grey, crop, size])}: ${difference}`);
    }
  },
);

native('a large part is decoded at a smaller size, near the reference', async (t, random) => {
  for (let i = 0; i < 12; i++) {
    const [width, height] = [300 + random.below(300), 300 + random.below(300)];
    const smooth = sharp({
      create: { width, height, channels: 3, background: '#000' },
    }).composite([
      {
        input: Buffer.from(
          `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><linearGradient id="a" x2="1" y2="1">
          <stop stop-color="#f80"/><stop offset="1" stop-color="#04f"/></linearGradient>
          <rect width="100%" height="100%" fill="url(#a)"/></svg>`,
        ),
      },
    ]);
    const drawn = sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } });
    const size = 20 + random.below(80);
    const crop = { left: random.below(50), top: random.below(50), width: 2 * size + 50, height: 2 * size + 50 };
    const compare = async (picture: Sharp) => {
      const jpeg = await picture.jpeg({ quality: 95, ...kinds[i % 4] }).toBuffer();
      const expected = resizedCrop(await pixelsOf(jpeg), width, crop, size);
      return [await decode(jpeg, { size, crop }), expected] as const;
    };
    const difference = gap(...(await compare(smooth)));
    t.true(difference <= 4, `smooth, ${difference}`);
    const ratio = psnr(...(await compare(drawn)));
    t.true(ratio >= 30, `drawn, ${ratio} dB`);
  }
});

native(
  'sharp gives the same within half a pixel: parts and the middle, turned by EXIF in all eight ways',
  async (t, random) => {
    for (let orientation = 1; orientation <= 8; orientation++) {
      const [width, height] = [90 + random.below(40), 60 + random.below(30)];
      const plain = await sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } })
        .blur(2)
        .jpeg({ quality: 95 })
        .toBuffer();
      const jpeg = turned(plain, orientation, orientation % 2 === 0);
      const seen = orientation >= 5 ? ([height, width] as const) : ([width, height] as const);
      const crop = { left: 10, top: 5, width: seen[0] - 30, height: seen[1] - 20 };
      for (const part of [
        { size: 48, crop },
        { size: 40, shorter: 50 },
        { size: 70, shorter: 80 },
      ]) {
        const [ours, theirs] = [await decode(jpeg, part), await decode(jpeg, { ...part, decoder: 'sharp' })];
        // libvips halves sizes by means of pixels, and cuts the middle at whole ones of the resized image: at most half a
        // pixel off, which is half (6 dB) of what a whole one makes of the same picture. Turned wrongly it is far beyond.
        const [ratio, shifted] = [psnr(ours, theirs), psnrOfShift(ours, part.size)];
        t.true(ratio > shifted + 6, `orientation ${orientation}, ${JSON.stringify(part)}: ${ratio}, ${shifted} dB`);
      }
    }
  },
);

native('what is no plain JPEG goes to sharp, or is refused where only the native decoder may', async (t, random) => {
  const pixels = photograph(random, 40, 30);
  const picture = () => sharp(pixels, { raw: { width: 40, height: 30, channels: 3 } });
  const others = {
    png: await picture().png().toBuffer(),
    webp: await picture().webp().toBuffer(),
    cmyk: await picture().toColourspace('cmyk').jpeg().toBuffer(),
    profile: await picture().withIccProfile('p3').jpeg().toBuffer(),
  };
  const known = await picture().withIccProfile('srgb').jpeg().toBuffer();
  t.deepEqual(await decode(known, { size: 16 }), await decode(await picture().jpeg().toBuffer(), { size: 16 }));
  const part = { size: 16, shorter: 20 };
  for (const [name, image] of Object.entries(others)) {
    t.deepEqual(await decode(image, { ...part, decoder: 'auto' }), await decode(image, { ...part, decoder: 'sharp' }));
    const refusal = { code: 'FILE_CORRUPT', message: /expected a JPEG in grey or sRGB/ };
    await t.throwsAsync(decode(image, part), refusal as object, name);
  }
});

native('damage is refused: cut anywhere, changed, of too many pixels or scans, no file', async (t, random) => {
  const [width, height] = [96, 64];
  const picture = sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } });
  const jpeg = await picture.clone().jpeg().toBuffer();
  const crop = { left: 0, top: 0, width, height: 8 };
  for (let i = 0; i < 40; i++) {
    // Whatever the part: the end is missing.
    await t.throwsAsync(decode(jpeg.subarray(0, 4 + random.below(jpeg.length - 5)), { size: 8, crop }));
  }
  const start = jpeg.indexOf(Buffer.of(0xff, 0xda));
  const changed = Buffer.from(jpeg);
  // A marker in the middle of the codes.
  changed.writeUInt16BE(0xffd0, Math.floor((start + jpeg.length) / 2));
  await t.throwsAsync(decode(changed, { size: 8, shorter: 8, whole: true }), { message: /Corrupt JPEG data/ });
  // Below the part, it is found by who looks for it.
  const top = await decode(changed, { size: 8, crop });
  t.deepEqual(top, await decode(jpeg, { size: 8, crop }));
  await t.throwsAsync(decode(changed, { size: 8, crop, whole: true }), { message: /Corrupt JPEG data/ });

  const frame = jpeg.indexOf(Buffer.of(0xff, 0xc0));
  const huge = Buffer.from(jpeg);
  huge.writeUInt32BE((65_000 * 2 ** 16 + 65_000) >>> 0, frame + 5);
  await t.throwsAsync(decode(huge, { size: 8, crop }), { message: /65000 × 65000 pixels are too many/ });

  const progressive = await picture.clone().jpeg({ progressive: true }).toBuffer();
  // libjpeg keeps the coefficients of such pictures, 2 bytes each; of others, some rows.
  const large = (bytes: Buffer, marker: number) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32BE(8000 * 2 ** 16 + 16_000, copy.indexOf(Buffer.of(0xff, marker)) + 5);
    return copy;
  };
  await t.throwsAsync(decode(large(progressive, 0xc2), { size: 8, crop }), {
    message: /16000 × 8000 pixels are too many in several scans: they take 366 MiB, at most 256 are allowed/,
  });
  await t.throwsAsync(decode(large(jpeg, 0xc0), { size: 8, crop }), { message: /Premature end|Corrupt JPEG data/ });

  const scan = progressive.lastIndexOf(Buffer.of(0xff, 0xda));
  const scans = Array.from({ length: 120 }, () => progressive.subarray(scan, -2));
  const slow = Buffer.concat([progressive.subarray(0, -2), ...scans, Buffer.of(0xff, 0xd9)]);
  await t.throwsAsync(decode(slow, { size: 8, crop }));

  await t.throwsAsync(decode('/there/is/no.jpg', { size: 8 }), { message: /No such file/ });
  await t.throwsAsync(decode(tmpdir(), { size: 8 }), { message: /expected a JPEG/ });
  await t.throwsAsync(decode(Buffer.alloc(0), { size: 8 }), { message: /expected a JPEG/ });
  // Parts that no caller would ask for.
  for (const wrong of [{ left: -1 }, { width: width + 1 }, { top: Number.NaN }, { height: 0 }]) {
    await t.throwsAsync(decode(jpeg, { size: 8, crop: { ...crop, ...wrong } }), { message: /the part/ });
  }
});

native('files and bytes give the same, many at a time, each into its own place', async (t, random) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-jpeg-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const images = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      const [width, height] = [20 + random.below(100), 20 + random.below(100)];
      const jpeg = await sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } })
        .jpeg()
        .toBuffer();
      await writeFile(join(folder, `${i}.jpg`), jpeg);
      return { jpeg, path: join(folder, `${i}.jpg`), alone: await decode(jpeg, { size: 16 }) };
    }),
  );
  const { decode: one } = await openCropDecoder('test', { size: 16, shorter: 16, decoder: 'native', threads: 3 });
  const bytes = 3 * 16 * 16;
  const into = new Uint8Array(300 * bytes);
  const picked = Array.from({ length: 300 }, () => images[random.below(12)]!);
  await Promise.all(
    picked.map(({ jpeg, path }, i) => one(i % 2 ? jpeg : path, into.subarray(i * bytes, (i + 1) * bytes))),
  );
  for (const [i, { alone }] of picked.entries()) t.deepEqual(into.slice(i * bytes, (i + 1) * bytes), alone);
  // What the choice of a part throws reaches the caller.
  await t.throwsAsync(
    one(images[0]!.jpeg, into.subarray(0, bytes), () => {
      throw new Error('no part');
    }),
    { message: 'no part' },
  );
  for (const length of [bytes - 1, bytes + 1]) {
    await t.throwsAsync(one(images[0]!.jpeg, new Uint8Array(length)), { instanceOf: RangeError });
  }
});

native(
  'threads end with their worker and process, in the middle of their work, too, and keep none alive',
  async (t) => {
    const decode = `
    const { openCropDecoder } = await import('${new URL('../../lib/io/decode-crop.ts', import.meta.url)}');
    const { default: sharp } = await import('sharp');
    const jpeg = await sharp({ create: { width: 900, height: 900, channels: 3, background: '#fa0' } }).jpeg().toBuffer();
    const { decode } = await openCropDecoder('test', { size: 200, shorter: 200, decoder: 'native', threads: 2 });
    const many = (count) => Array.from({ length: count }, () => decode(jpeg, new Uint8Array(3 * 200 * 200)));`;
    const ended = async (then: string) => {
      const { code, signal, output } = await program(decode + then);
      return { code, signal, output: output.trim() };
    };
    t.deepEqual(await ended('many(20).at(-1).then(() => console.log("done"));'), {
      code: 0,
      signal: null,
      output: 'done',
    });
    t.deepEqual(await ended('many(500); setTimeout(() => process.exit(3), 5);'), { code: 3, signal: null, output: '' });
    const worker = `
    import('tsx/esm/api').then(async ({ register }) => { register(); ${decode}
      many(500); (await import('node:worker_threads')).parentPort.postMessage('busy'); });`;
    const terminate = `
    const { Worker } = await import('node:worker_threads');
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await new Promise((resolve) => setTimeout(resolve, 3 * round));
      await worker.terminate();
    }
    globalThis.gc?.();
    console.log('ended');`;
    t.deepEqual(await ended(terminate), { code: 0, signal: null, output: 'ended' });
  },
);

test('where the addon is missing, sharp decodes, or the remedy is told', async (t) => {
  const { code, output } = await program(`
    const { dlopen } = process;
    process.dlopen = (module, path, ...rest) => {
      if (path.includes('kalman_norm_jpeg')) throw new Error('libjpeg.so.62: cannot open shared object file');
      return dlopen.call(process, module, path, ...rest);
    };
    const images = { name: 'x', classNames: ['a', 'b'], labels: Uint8Array.of(0, 1), note: '', nameOf: () => 'x' };
    console.log((await kn.decodeImages(images)).decoder);
    await kn.decodeImages(images, { decoder: 'native' }).catch(({ code, message }) => console.log(code, message));`);
  t.is(code, 0, output);
  t.regex(
    output,
    /^sharp\nPACKAGE_MISSING decodeImages: .*apt-get install libjpeg62-turbo-dev.*: (libjpeg\.so\.62: cannot|Cannot find module)/,
  );
});
