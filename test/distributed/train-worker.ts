/**
 * A process of a group that trains a small network for 20 steps: `train-worker.ts NORM EAGER OUT`, the normalization as JSON.
 * Without a launcher it is the whole group. Rank 0 writes weights and figures to a file.
 */
import { writeFileSync } from 'node:fs';
import {
  CifarResNet,
  openDevice,
  openProcessGroup,
  processPlace,
  Sgd,
  syntheticDataset,
  Trainer,
} from '../../lib/index.js';

const [norm = '{}', eager = '', out = ''] = process.argv.slice(2);
const group = processPlace() ? await openProcessGroup({ timeout: 30 }) : null;
const device = openDevice('cpu', { threads: 1 });
const dataset = syntheticDataset({ classes: 4, train: 80, test: 8, size: 16 });
const spec = JSON.parse(norm);
// One process alone splits its batch where several each see a part.
if (group && spec.splits) spec.splits /= group.size;
const model = new CifarResNet(device, { n: 1, norm: spec, classes: 4, seed: 1 });
const optimizer = new Sgd(device, model.namedParameters(), 0.02, { momentum: 0.9, weightDecay: 1e-4 });
const trainer = new Trainer({
  device,
  model,
  optimizer,
  dataset,
  batchSize: 16,
  eager: eager === 'eager',
  syncStatistics: true,
  ...(group && { group }),
});
const losses: number[] = [];
for (let epoch = 1; epoch <= 4; epoch++) losses.push((await trainer.trainEpoch(epoch)).loss);
const state = await model.stateValues();
if (!group || group.rank === 0) {
  const weights = Object.fromEntries([...state].map(([name, { data }]) => [name, [...data]]));
  writeFileSync(out, JSON.stringify({ losses, weights }));
}
group?.close();
