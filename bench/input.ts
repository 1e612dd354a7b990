/** `npm run bench:input -- DIR`: the input pipeline beside sharp and torchvision, in images a second of one core. */

import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { runAsProgram, runCommand } from '../experiments/command.js';
import { number } from '../experiments/flags.js';
import { check } from '../lib/errors.js';
import { decodeImages, type EncodedImages, openImageSplits } from '../lib/index.js';
import { TorchvisionPeer } from './peers/torchvision.js';
import { compare, summarize } from './support/statistics.js';

const usage = `Images a second of processor time: the training images of DIR, decoded by this library with either of its decoders,
by sharp alone, and by torchvision's ImageFolder, in turns.

usage: npm run bench:input -- DIR [flags]

  --size VALUE    pixels a side; default: 224
  --images VALUE  images a turn; default: 200
  --turns VALUE   default: 7
  --python VALUE  an interpreter that has torchvision; default: KN_PEER_PYTHON, or python3`;

/** Decodes the images of a turn. @returns seconds of processor time */
type Contender = () => Promise<number>;

async function main(args: readonly string[]): Promise<number> {
  const text = { type: 'string' } as const;
  const flags = { size: text, images: text, turns: text, python: text };
  return runCommand({ usage, flags }, args, console.log, async ({ positionals, values }) => {
    const [folder] = positionals;
    check(folder !== undefined, 'INVALID_ARGUMENT', 'DIR: expected a folder with train and val');
    const isCount = (value: number) => Number.isInteger(value) && value >= 1;
    const count = (flag: 'size' | 'images' | 'turns', fallback: number) =>
      number(flag, values[flag], fallback, isCount, 'a whole number of at least 1');
    const [size, turns] = [count('size', 224), count('turns', 7)];
    const { train, val } = await openImageSplits(folder);
    const images = Math.min(count('images', 200), train.labels.length);
    const indices = Int32Array.from({ length: images }, (_, i) => Math.floor((i * train.labels.length) / images));
    const contenders = await ours(train, indices, size);
    const python = values.python ?? process.env.KN_PEER_PYTHON ?? 'python3';
    const peer = await TorchvisionPeer.start(python, join(folder, 'train'), size).catch((error: Error) => error);
    if (peer instanceof TorchvisionPeer) contenders.set(peer.version, () => peer.decode([...indices]));
    else console.log(`torchvision is left out: ${peer.message.split('\n').at(-1)}`);

    const rates = new Map([...contenders.keys()].map((name) => [name, [] as number[]]));
    // The first turn warms up.
    for (let turn = 0; turn <= turns; turn++) {
      for (const [name, run] of contenders) {
        const seconds = await run();
        if (turn > 0) rates.get(name)?.push(images / seconds);
      }
    }
    console.log(`${train.note} ${size} × ${size}, ${turns} turns of ${images} images`);
    console.log(`${cpus().length} × ${cpus()[0]?.model}, load ${loadavg()[0]?.toFixed(1)}`);
    const [first = []] = rates.values();
    for (const [name, values] of rates) {
      const { median, p25, p75 } = summarize(values);
      const { ratio, low, high } = compare(first, values);
      const spread = `(${p25.toFixed(0)} to ${p75.toFixed(0)})`;
      const times = `the first is ${ratio.toFixed(2)} times as fast (${low.toFixed(2)} to ${high.toFixed(2)})`;
      const beside = values === first ? '' : times;
      console.log(
        `${name.padEnd(60)} ${median.toFixed(0).padStart(6)} images/s of a core ${spread.padEnd(14)} ${beside}`,
      );
    }
    if (peer instanceof TorchvisionPeer) await peer.close();
    await Promise.all([train.close(), val.close()]);
    return 0;
  });
}

/** What runs in this process: both decoders, and sharp by itself. */
async function ours(train: EncodedImages, indices: Int32Array, size: number): Promise<Map<string, Contender>> {
  const into = new Uint8Array(indices.length * 3 * size * size);
  const timed = (run: () => Promise<unknown>) => async () => {
    const before = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  };
  const each = async (one: (image: string | Buffer) => Promise<unknown>) => {
    const batch = 16;
    for (let start = 0; start < indices.length; start += batch) {
      await Promise.all([...indices.subarray(start, start + batch)].map(async (i) => one(await train.read(i))));
    }
  };
  const contenders = new Map<string, Contender>();
  for (const crop of ['random', 'middle'] as const) {
    for (const decoder of ['auto', 'sharp'] as const) {
      const source = await decodeImages(train, { size, crop, decoder });
      let epoch = 0;
      contenders.set(
        `${crop === 'random' ? 'random crops' : 'middle'}, ${source.decoder}`,
        timed(async () => source.read(indices, into, crop === 'random' ? ++epoch : undefined)),
      );
    }
  }
  const { vips } = sharp.versions;
  contenders.set(
    `sharp alone: decode (libvips ${vips})`,
    timed(() => each((image) => sharp(image).raw().toBuffer())),
  );
  contenders.set(
    'sharp alone: decode, resize',
    timed(() => each((image) => sharp(image).resize(size, size).raw().toBuffer())),
  );
  return contenders;
}

await runAsProgram(import.meta.url, main);
