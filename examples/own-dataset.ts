/**
 * Your own images: a folder for each class, trained, saved, and used again. Run it with
 *
 *     npx tsx examples/own-dataset.ts [FOLDER]
 *
 * Without a folder of images it makes one: upright and lying stripes.
 */
import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
// In a project of yours: from 'kalman-norm'.
import * as kn from '../lib/index.js';

const folder = process.argv[2] ?? (await makeStripes(40));
const source = await kn.openImageFolder(folder, { height: 32, width: 32 });
for (const { file, reason } of source.skipped) console.warn(`skipped ${file}: ${reason}`);
const dataset = kn.splitSource(source, { validation: 0.25, seed: 1 });
console.log(source.note, `Classes: ${source.classNames.join(', ')}.`);

using device = kn.openDevice('cpu');
const classes = source.classNames.length;
const model = new kn.CifarResNet(device, { n: 1, norm: { type: 'batch' }, classes, seed: 1 });
const optimizer = new kn.Sgd(device, model.namedParameters(), 0.02, { weightDecay: 2e-4 });
using trainer = new kn.Trainer({ device, model, optimizer, dataset, batchSize: 16, seed: 1, mean: 'channel' });
for (let epoch = 1; epoch <= 6; epoch++) {
  const { loss } = await trainer.trainEpoch(epoch);
  const { error } = await trainer.evaluate();
  console.log(`epoch ${epoch}: loss ${loss.toFixed(3)}, validation error ${(100 * error).toFixed(1)} %`);
}
const file = join(folder, 'model.safetensors');
await kn.saveModel(file, model, await trainer.describe());

// Anybody can use the file: it knows the network, the classes and what to do with pixels.
const saved = await kn.openModel(file, device);
const pixels = new Uint8Array(3 * 32 * 32);
await dataset.test.read(Int32Array.of(0), pixels);
const image = device.tensor(kn.normalizeImages(pixels, saved), [1, 3, 32, 32]);
const logits = await (saved.model as kn.CifarResNet).forward(image).data();
const guess = saved.classNames?.[logits.indexOf(Math.max(...logits))];
console.log(`the first validation image: ${guess} (${source.classNames[dataset.test.labels[0] as number]} is right)`);
await source.close();

/** A folder with so many noisy images of each of two classes. */
async function makeStripes(count: number): Promise<string> {
  const random = new kn.HostRandom(1);
  const made = await mkdtemp(join(tmpdir(), 'stripes-'));
  for (const name of ['lying', 'upright']) {
    await mkdir(join(made, name));
    for (let i = 0; i < count; i++) {
      const wave = (k: number) => 60 * Math.sin((name === 'lying' ? Math.floor(k / 96) : Math.floor(k / 3) % 32) + i);
      const raw = Uint8Array.from({ length: 32 * 32 * 3 }, (_, k) => 98 + wave(k) + 60 * random.uniform());
      await sharp(raw, { raw: { width: 32, height: 32, channels: 3 } }).toFile(join(made, name, `${i}.png`));
    }
  }
  return made;
}
