import test from 'ava';
import sharp from 'sharp';
import { fittedDecoder } from '../../lib/io/decode-fitted.js';
import { imageDecoder } from '../../lib/io/decode-image.js';
import { jpegCrops } from '../../lib/io/decode-jpeg.js';
import { seeded } from '../support/devices.js';
import { photograph, resizedCrop } from '../support/pictures.js';

const built = typeof jpegCrops({ size: 8, shorter: 8, threads: 1 }) !== 'string';
const square = { channels: 3, height: 32, width: 32, fit: 'cover' } as const;

test('a JPEG becomes the pixels of a float64 reference, and nearly those of sharp', async (t) => {
  await seeded(t, t.title, async (random) => {
    const decode = await fittedDecoder('test', square);
    const bySharp = await imageDecoder('test', square);
    for (let i = 0; i < 20; i++) {
      // Less than twice the size, so that no decoder takes a smaller inverse DCT; margins are whole pixels.
      const side = 33 + random.below(30);
      const margin = random.below(10);
      const [width, height] = [side + 2 * margin, side];
      const drawing = sharp(photograph(random, width, height), { raw: { width, height, channels: 3 } });
      const jpeg = await drawing.jpeg({ quality: 95, progressive: i % 2 === 1 }).toBuffer();
      const pixels = await sharp(jpeg).raw().toBuffer();
      const expected = resizedCrop(pixels, width, { left: margin, top: 0, width: side, height: side }, 32);
      const gaps = (planes: Uint8Array) => Array.from(planes, (x, k) => Math.abs(x - expected[k]!));
      // What lies beside the square counts for pixels at its rim.
      const inner = (gaps: number[]) => gaps.filter((_, k) => k % 32 > 0 && k % 32 < 31);
      if (built) t.true(Math.max(...inner(gaps(await decode(jpeg)))) <= 0.51, `${width} × ${height}`);
      // sharp rounds the size of the whole before it cuts: half a pixel beside, where slopes and noise differ by some.
      const mean = gaps(await bySharp(jpeg)).reduce((sum, gap) => sum + gap) / expected.length;
      t.true(mean <= 8, `sharp, ${width} × ${height}: ${mean}`);
    }
  });
});

test('other formats, colours and shapes are for sharp', async (t) => {
  const drawing = sharp({ create: { width: 60, height: 40, channels: 3, background: '#c84' } });
  const decode = await fittedDecoder('test', square);
  for (const image of [drawing.clone().png(), drawing.clone().toColourspace('cmyk').jpeg()]) {
    t.is((await decode(await image.toBuffer())).length, 3 * 32 * 32);
  }
  const jpeg = await drawing.jpeg().toBuffer();
  t.is((await (await fittedDecoder('test', { ...square, width: 40 }))(jpeg)).length, 3 * 32 * 40);
  t.is((await (await fittedDecoder('test', { ...square, channels: 1 }))(jpeg)).length, 32 * 32);
});

test('pictures beyond the limit of pixels, and damaged ones, are refused', async (t) => {
  const jpeg = await sharp({ create: { width: 60, height: 40, channels: 3, background: '#c84' } })
    .jpeg()
    .toBuffer();
  t.is((await (await fittedDecoder('test', { ...square, maxPixels: 2400 }))(jpeg)).length, 3 * 32 * 32);
  await t.throwsAsync((await fittedDecoder('test', { ...square, maxPixels: 2399 }))(jpeg), {
    message: built ? /60 × 40 pixels exceed the pixel limit of 2399/ : /pixel limit/,
  });
  await t.throwsAsync((await fittedDecoder('test', square))(jpeg.subarray(0, -2)));
});
