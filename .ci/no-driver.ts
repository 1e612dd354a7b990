/**
 * With the CUDA library built and no driver: the package loads, trains on the CPU, and says what is missing. Where there
 * is a GPU, it is found.
 */

import { CifarResNet, cudaProblem, devices, openDevice, Sgd, syntheticDataset, Trainer } from '../lib/index.js';

const problem = cudaProblem();
console.log(
  devices()
    .map(({ name, description }) => `${name}: ${description}`)
    .join('\n'),
);
console.log(problem ?? 'a GPU is there');
if (problem !== null && !/NVIDIA driver/.test(problem)) {
  throw new Error('the CUDA library is built, so nothing but the driver should be missing');
}

using device = openDevice('cpu');
const model = new CifarResNet(device, { n: 1, norm: { type: 'reference-kalman', splits: 8, gain: 0.1 } });
const optimizer = new Sgd(device, model.namedParameters(), 0.05);
const dataset = syntheticDataset({ train: 64, test: 16, classes: 10 });
const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 16 });
const { loss } = await trainer.trainEpoch(1);
console.log(`trained on the CPU, loss ${loss}`);
if (!Number.isFinite(loss)) process.exitCode = 1;
trainer.dispose();
