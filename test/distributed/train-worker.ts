/**
 * A process of a group that trains a small network: `train-worker.ts OPTIONS OUT`, the options as JSON. Without a launcher
 * it is the whole group. Rank 0 writes losses and weights, first and last, to a file.
 */
import { writeFileSync } from 'node:fs';
import {
  CifarResNet,
  HostRandom,
  type NormSpec,
  openDevice,
  openProcessGroup,
  type ProcessGroupBackend,
  processPlace,
  Sgd,
  syntheticDataset,
  Trainer,
} from '../../lib/index.js';

/** What a training is made of. */
export interface Training {
  norm: NormSpec;
  learningRate: number;
  /** Of 5 steps. */
  epochs: number;
  /** Where shifts begin, but the named one: far from 0, no ReLU's input comes near its kink. */
  shift?: number;
  unshifted?: string;
  /** All weights are first changed by this share of themselves, up or down by chance. */
  perturbation?: number;
  eager?: boolean;
  /** What of rank 1 is another than that of the others; `end`: it is killed within the first epoch. */
  other?: 'settings' | 'weights' | 'end';
  /** Default `cpu`. */
  device?: string;
  /** Default: that of the device. */
  backend?: ProcessGroupBackend;
}

/** What comes of it; values by name. */
export interface Trained {
  losses: number[];
  start: Record<string, readonly number[]>;
  weights: Record<string, readonly number[]>;
}

const [options = '{}', out = ''] = process.argv.slice(2);
const training = JSON.parse(options) as Training;
const { norm, epochs, shift = 0, unshifted, eager = false, backend } = training;
const device = openDevice(training.device, { threads: 1 });
// Generous: with as many processes as a test starts, one may wait long for a core.
const group = processPlace() ? await openProcessGroup({ device, timeout: 120, ...(backend && { backend }) }) : null;
const other = group?.rank === 1 ? training.other : undefined;
const learningRate = training.learningRate * (other === 'settings' ? 2 : 1);
const perturbation = other === 'weights' ? 1e-3 : (training.perturbation ?? 0);
// One process alone splits its batch where several each see a part.
if (group && 'splits' in norm && norm.splits) norm.splits /= group.size;

const dataset = syntheticDataset({ classes: 4, train: 80, test: 8, size: 16 });
const model = new CifarResNet(device, { n: 1, norm, classes: 4, seed: 1 });
const random = new HostRandom(2);
for (const [name, tensor] of model.namedParameters()) {
  if (shift !== 0 && name.endsWith('.beta') && name !== unshifted) tensor.fill(shift);
  if (perturbation === 0) continue;
  const values = (await tensor.data()) as Float32Array;
  tensor.write(values.map((value) => value * (1 + (random.uniform() < 0.5 ? -perturbation : perturbation))));
}
const values = async () =>
  Object.fromEntries(
    await Promise.all(
      [...model.namedParameters()].map(async ([name, tensor]) => [name, [...(await tensor.data())]] as const),
    ),
  );

const start = await values();
const optimizer = new Sgd(device, model.namedParameters(), learningRate, { momentum: 0.9, weightDecay: 1e-4 });
const trainer = new Trainer({
  device,
  model,
  optimizer,
  dataset,
  batchSize: 16,
  eager,
  syncStatistics: true,
  ...(group && { group }),
});
const losses: number[] = [];
const onProgress = () => {
  if (other === 'end') process.kill(process.pid, 'SIGKILL');
};
for (let epoch = 1; epoch <= epochs; epoch++) losses.push((await trainer.trainEpoch(epoch, { onProgress })).loss);
const result: Trained = { losses, start, weights: await values() };
if (!group || group.rank === 0) writeFileSync(out, JSON.stringify(result));
group?.close();
