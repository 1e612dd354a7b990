/** A user's program as an ES module: trains 20 steps and saves the network. */

import {
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  manualSeed,
  openDevice,
  Sgd,
  saveModel,
  scope,
} from 'kalman-norm';
import { brightPixels } from './pictures.mjs';

const device: Device = openDevice('cpu');
console.log(device.description);
manualSeed(1);
const model = new CifarResNet(device, { n: 1, norm: { type: 'kalman', splits: 8 } });
const optimizer = new Sgd(device, model.namedParameters(), 0.05);
const images = device.tensor(brightPixels(16), [16, 3, 32, 32]);
const labels = device.tensor(Int32Array.from({ length: 16 }, (_, i) => i % 2));

const losses: number[] = [];
for (let step = 0; step < 20; step++) {
  const loss = scope(() => {
    const { loss } = crossEntropy(model.forward(images), labels);
    model.zeroGrad();
    backward(loss);
    optimizer.step();
    return loss;
  });
  losses.push(await loss.item());
  loss.dispose();
}
const [first = Number.NaN] = losses;
const last = losses.at(-1) ?? Number.NaN;
console.log(`loss ${first.toFixed(3)}, after 20 steps ${last.toFixed(3)}`);
if (!(last < first / 2)) throw new Error('it does not learn');

await saveModel('model.safetensors', model, { input: { channels: 3, height: 32, width: 32 } });
await device.dispose();
