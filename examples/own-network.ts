/**
 * Your own network of Kalman blocks: trained with micro-batches of 2 on made-up pictures, saved, and used by another
 * process, which has the file alone. Run it with
 *
 *     npx tsx examples/own-network.ts
 */
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
// In a project of yours: from 'kalman-norm'.
import * as kn from '../lib/index.js';

const [classNames, side] = [['disc', 'ring', 'cross'], 16];
const [, script = '', trained] = process.argv;
using device = kn.openDevice('cpu');
if (trained) {
  await using model = await kn.loadModel(trained, { device });
  const { images, labels } = draw(6, 2);
  const answers = await model.classify(device.tensor(images, [6, 1, side, side]));
  for (const [i, [best]] of answers.entries()) console.log(`a new ${classNames[labels[i]!]}: a ${best?.name}, it says`);
} else {
  // The normalization sees a batch of 32 as 16 micro-batches of 2; the convolution carries what is believed to the next.
  const part = (from: number, to: number) => [
    new kn.KalmanNorm2d(device, from, { splits: 16, relu: true }),
    new kn.Conv2d(device, from, to, 3, { padding: 'same' }),
  ];
  const block = () => new kn.Residual(new kn.Sequential(...part(8, 8), ...part(8, 8)));
  const stem = [new kn.Conv2d(device, 1, 8, 3, { padding: 'same' }), block(), new kn.MaxPool2d(2), block()];
  const head = [...part(8, 16), new kn.ReLU(), new kn.GlobalAvgPool2d(), new kn.Linear(device, 16, 3)];
  const model = new kn.Sequential(...stem, ...head);
  const optimizer = new kn.Sgd(device, model.namedParameters(), 0.1, { weightDecay: 2e-4 });
  const source = kn.arraySource({ ...draw(1200, 1), classNames, channels: 1, height: side, width: side });
  const dataset = kn.splitSource(source, { validation: 0.2 });
  using trainer = new kn.Trainer({ device, model, optimizer, dataset, batchSize: 32, mean: 'channel' });
  const losses: number[] = [];
  for (let epoch = 1; epoch <= 5; epoch++) losses.push((await trainer.trainEpoch(epoch)).loss);
  const { error } = await trainer.evaluate();
  console.log(`losses: ${losses.map((loss) => loss.toFixed(3))}; validation error: ${(100 * error).toFixed(1)} %`);
  if (losses[4]! > 0.5 * losses[0]!) throw new Error('the loss must fall');
  const file = join(tmpdir(), `own-network-${process.pid}.safetensors`);
  await kn.saveModel(file, model, await trainer.describe());
  console.log(`${file} goes to another process`);
  execFileSync(process.execPath, [...process.execArgv, script, file], { stdio: 'inherit' });
}

/** So many noisy pictures, of each class in turn. */
function draw(count: number, seed: number): { images: Uint8Array; labels: number[] } {
  const [random, labels] = [new kn.HostRandom(seed), Array.from({ length: count }, (_, i) => i % 3)];
  const pixels = labels.flatMap((label) => {
    const [x, y, radius] = [5 + 6 * random.uniform(), 5 + 6 * random.uniform(), 3 + 2 * random.uniform()];
    return Array.from({ length: side ** 2 }, (_, i) => {
      const [dx, dy] = [Math.abs((i % side) - x), Math.abs(Math.floor(i / side) - y)];
      const far = Math.hypot(dx, dy);
      const inside = [far < radius, Math.abs(far - radius) < 1, Math.min(dx, dy) < 1 && far < radius][label];
      return (inside ? 150 : 50) + 100 * random.uniform();
    });
  });
  return { images: Uint8Array.from(pixels), labels };
}
