/** `npm run bench:input -- DIR`: what the input pipeline does beside plain sharp, in images a second of one core. */

import { cpus, loadavg } from 'node:os';
import sharp from 'sharp';
import { runAsProgram, runCommand } from '../experiments/command.js';
import { number } from '../experiments/flags.js';
import { check } from '../lib/errors.js';
import { decodeImages, openImageSplits } from '../lib/index.js';

const usage = `Images a second of processor time: the training images of DIR, decoded by this library and by sharp alone, in turns.

usage: npm run bench:input -- DIR [flags]

  --size VALUE    pixels a side; default: 224
  --images VALUE  images a turn; default: 200
  --turns VALUE   default: 7`;

async function main(args: readonly string[]): Promise<number> {
  const text = { type: 'string' } as const;
  const flags = { size: text, images: text, turns: text };
  return runCommand({ usage, flags }, args, console.log, async ({ positionals, values }) => {
    const [folder] = positionals;
    check(folder !== undefined, 'INVALID_ARGUMENT', 'DIR: expected a folder with train and val');
    const isCount = (value: number) => Number.isInteger(value) && value >= 1;
    const count = (flag: keyof typeof flags, fallback: number) =>
      number(flag, values[flag], fallback, isCount, 'a whole number of at least 1');
    const [size, turns] = [count('size', 224), count('turns', 7)];
    const { train, val } = await openImageSplits(folder);
    const images = Math.min(count('images', 200), train.labels.length);
    const indices = Int32Array.from({ length: images }, (_, i) => Math.floor((i * train.labels.length) / images));
    const into = new Uint8Array(images * 3 * size * size);
    const [random, middle] = [await decodeImages(train, { size, crop: 'random' }), await decodeImages(train, { size })];
    const each = async (one: (image: string | Buffer) => Promise<unknown>) => {
      const batch = 16;
      for (let start = 0; start < images; start += batch) {
        await Promise.all([...indices.subarray(start, start + batch)].map(async (i) => one(await train.read(i))));
      }
    };
    const shapes: Readonly<Record<string, () => Promise<unknown>>> = {
      'random crops, planes': async () => random.read(indices, into, 1),
      'middle, planes': async () => middle.read(indices, into),
      'sharp: decode': () => each((image) => sharp(image).raw().toBuffer()),
      'sharp: decode, resize': () => each((image) => sharp(image).resize(size, size).raw().toBuffer()),
    };
    const rates = new Map(Object.keys(shapes).map((name) => [name, [] as number[]]));
    // The first turn warms up.
    for (let turn = 0; turn <= turns; turn++) {
      for (const [name, run] of Object.entries(shapes)) {
        const before = process.cpuUsage();
        await run();
        const { user, system } = process.cpuUsage(before);
        if (turn > 0) rates.get(name)?.push((images * 1e6) / (user + system));
      }
    }
    console.log(`${train.note} ${size} × ${size}, ${turns} turns of ${images} images`);
    console.log(
      `${cpus().length} × ${cpus()[0]?.model}, load ${loadavg()[0]?.toFixed(1)}, libvips ${sharp.versions.vips}`,
    );
    for (const [name, values] of rates) {
      const sorted = values.sort((a, b) => a - b);
      const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] as number).toFixed(0);
      console.log(`${name.padEnd(24)} ${at(0.5).padStart(6)} images/s of a core (${at(0)} to ${at(1)})`);
    }
    await Promise.all([train.close(), val.close()]);
    return 0;
  });
}

await runAsProgram(import.meta.url, main);
