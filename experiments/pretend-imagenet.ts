import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { check } from '../lib/errors.js';
import { HostRandom } from '../lib/index.js';
import { makeFolder } from '../lib/io/make-folder.js';
import { runAsProgram, runCommand } from './command.js';
import { choice, number } from './flags.js';

const usage = `Draws a pretend ImageNet: JPEGs of coloured shapes before textures, which differ from class to class.

usage: npm run imagenet:pretend -- DIR [flags]

  --format VALUE   folders, or tars as WebDataset has them; default: folders
  --classes VALUE  default: 100
  --train VALUE    training images a class; default: 20
  --val VALUE      validation images a class; default: 5
  --size VALUE     pixels of the longer side, about; default: 160
  --seed VALUE     default: 0`;

/** What is drawn. */
export interface PretendOptions {
  readonly format: 'folders' | 'tars';
  readonly classes: number;
  /** Images a class. */
  readonly train: number;
  readonly val: number;
  /** Pixels of the longer side, about. */
  readonly size: number;
  readonly seed: number;
}

/** Samples of a tar. */
const SHARD = 500;

/**
 * Writes DIR/train and DIR/val. The same options draw the same images, in both formats in the same order.
 *
 * @returns how many images there are
 */
export async function drawImageNet(folder: string, options: PretendOptions): Promise<number> {
  const { format, classes, seed } = options;
  const names = Array.from({ length: classes }, (_, label) => `n${String(label).padStart(5, '0')}`);
  let number = 0;
  for (const part of ['train', 'val'] as const) {
    const samples: { label: number; name: string; stream: number }[] = [];
    for (const [label, name] of names.entries()) {
      for (let i = 0; i < options[part]; i++)
        samples.push({ label, name: `${name}_${String(i).padStart(4, '0')}`, stream: number++ });
    }
    const draw = ({ label, stream }: (typeof samples)[number]) =>
      drawImage(label, options, new HostRandom(seed, stream));
    if (format === 'folders') {
      for (const sample of samples) {
        const path = join(folder, part, names[sample.label] as string, `${sample.name}.JPEG`);
        await makeFolder('FOLDER', dirname(path));
        await writeFile(path, await draw(sample));
      }
      continue;
    }
    await makeFolder('FOLDER', join(folder, part));
    await writeFile(join(folder, part, 'classes.txt'), `${names.join('\n')}\n`);
    for (let start = 0; start < samples.length; start += SHARD) {
      const tar = pack();
      const file = `${part}-${String(start / SHARD).padStart(6, '0')}.tar`;
      const written = pipeline(tar, createWriteStream(join(folder, part, file)));
      for (const sample of samples.slice(start, start + SHARD)) {
        const entry = { mtime: new Date(0), mode: 0o644 };
        tar.entry({ ...entry, name: `${sample.name}.jpg` }, await draw(sample));
        tar.entry({ ...entry, name: `${sample.name}.cls` }, String(sample.label));
      }
      tar.finalize();
      await written;
    }
  }
  return number;
}

/** A JPEG: the class gives shape, colours and the stripes of the background; place, size and noise are the image's own. */
function drawImage(label: number, { size }: PretendOptions, random: HostRandom): Promise<Buffer> {
  const between = (low: number, high: number) => low + (high - low) * random.uniform();
  const width = Math.round(size * between(0.6, 1));
  const height = Math.round(size * between(0.6, 1));
  // Steps of the golden angle: neighbours differ.
  const hue = (label * 137.508) % 360;
  const shade = (degrees: number, lightness: number) =>
    `hsl(${Math.round(degrees + between(-8, 8)) % 360}, 70%, ${Math.round(lightness + between(-6, 6))}%)`;
  const radius = Math.min(width, height) * between(0.2, 0.35);
  const [x, y] = [between(0.3, 0.7) * width, between(0.3, 0.7) * height];
  const corners = 3 + (label % 5);
  const turn = between(0, 2 * Math.PI);
  const points = Array.from({ length: 2 * corners }, (_, i) => {
    // Every second class has stars.
    const r =
      i % 2 === 1 && label % 2 === 1 ? radius / 2 : radius * (i % 2 === 1 ? Math.cos(Math.PI / (2 * corners)) : 1);
    const angle = turn + (i * Math.PI) / corners;
    return `${(x + r * Math.cos(angle)).toFixed(1)},${(y + r * Math.sin(angle)).toFixed(1)}`;
  });
  const stripe = 4 + (label % 7) * 3;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <defs><pattern id="p" width="${stripe}" height="${stripe}" patternUnits="userSpaceOnUse"
      patternTransform="rotate(${(label * 29) % 180})"><rect width="${stripe}" height="${stripe}" fill="${shade(hue + 120, 35)}"/>
      <rect width="${stripe / 2}" height="${stripe}" fill="${shade(hue + 150, 60)}"/></pattern></defs>
    <rect width="100%" height="100%" fill="url(#p)"/><polygon points="${points.join(' ')}" fill="${shade(hue, 55)}"/></svg>`;
  return sharp(Buffer.from(svg)).flatten({ background: '#000' }).jpeg({ quality: 90 }).toBuffer();
}

/** @returns the exit code */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  const text = { type: 'string' } as const;
  const flags = { format: text, classes: text, train: text, val: text, size: text, seed: text };
  return runCommand({ usage, flags }, args, print, async ({ positionals, values }) => {
    const [folder] = positionals;
    check(
      folder !== undefined && positionals.length === 1,
      'INVALID_ARGUMENT',
      `DIR: expected one folder, got ${positionals.length}`,
    );
    const whole = (flag: 'classes' | 'train' | 'val' | 'size' | 'seed', fallback: number, least: number) =>
      number(
        flag,
        values[flag],
        fallback,
        (value) => Number.isSafeInteger(value) && value >= least,
        `a whole number of at least ${least}`,
      );
    const count = await drawImageNet(folder, {
      format: choice('format', values.format, 'folders', ['folders', 'tars']),
      classes: whole('classes', 100, 2),
      train: whole('train', 20, 1),
      val: whole('val', 5, 1),
      size: whole('size', 160, 16),
      seed: whole('seed', 0, 0),
    });
    print(`${count} images in ${folder}`);
    return 0;
  });
}

await runAsProgram(import.meta.url, (args) => main(args));
