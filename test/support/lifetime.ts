/** Trains and predicts until somebody ends it; says `busy` when it is in the middle of its steps. See lifetime.test.ts. */
import { parentPort } from 'node:worker_threads';
import {
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  openDevice,
  type Program,
  Sgd,
  scope,
  type Tensor,
} from '../../lib/index.js';

/** A small network's recorded training step, and what it writes. */
export interface Step {
  readonly program: Program;
  readonly loss: Tensor;
}

/** Records a training step of a network with Kalman normalization on images that are all alike. */
export function recordStep(device: Device): Step {
  const model = new CifarResNet(device, { n: 1, norm: { type: 'kalman', splits: 4 }, classes: 4, seed: 1 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.01);
  const images = device.full([8, 3, 16, 16], 0.5);
  const labels = device.tensor(new Int32Array(8));
  const step = () => {
    const { loss, errors } = crossEntropy(model.forward(images), labels);
    errors.dispose();
    model.zeroGrad();
    backward(loss);
    optimizer.step();
    return loss;
  };
  // Optimizers make their state at their first step.
  scope(() => {
    step();
  });
  const { program, result: loss } = device.record(() => scope(() => step()));
  return { program, loss };
}

/** Never ends by itself. */
export async function work(device: Device): Promise<never> {
  const { program, loss } = recordStep(device);
  for (let i = 0; ; i++) {
    program.run(3);
    // Some steps wait for their loss, others pile up.
    if (i % 4 === 3) await loss.item();
    if (i === 4) parentPort?.postMessage('busy');
  }
}

if (parentPort) await work(openDevice('cpu', { threads: 2 }));
