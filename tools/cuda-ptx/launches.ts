/**
 * Launches kernels on the emulated CUDA device, which records them where KN_EMULATION_RECORD says:
 *
 *   tsx tools/cuda-ptx/launches.ts step    a training step of a Kalman network, in float32 and in bfloat16
 *   tsx tools/cuda-ptx/launches.ts sweep   every instantiation of every kernel, on small tensors
 */

import {
  CifarResNet,
  type CifarResNetOptions,
  openDevice,
  type Precision,
  Sgd,
  syntheticDataset,
  Trainer,
} from '../../lib/index.js';
import { sweep } from './sweep.js';

const DEVICE = 'cuda-emulated';

interface TrainingOptions {
  precision: Precision;
  model: CifarResNetOptions;
  batchSize: number;
  /** Of the images, in pixels. */
  size: number;
  /** Also classify test images. */
  evaluate?: boolean;
}

/** One step as a {@link Trainer} makes it: crops and flips, forward, loss, backward, SGD. */
async function train({ precision, model: modelOptions, batchSize, size, evaluate }: TrainingOptions): Promise<void> {
  using device = openDevice(DEVICE, { precision });
  const dataset = syntheticDataset({ train: batchSize, test: batchSize, size });
  const model = new CifarResNet(device, { ...modelOptions, n: 1, seed: 3 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.1, { weightDecay: 2e-4 });
  const trainer = new Trainer({ device, model, optimizer, dataset, batchSize, seed: 5 });
  await trainer.trainEpoch(1);
  if (evaluate) await trainer.evaluate();
  trainer.dispose();
}

const parts: Record<string, () => Promise<void>> = {
  async step() {
    const norm = { type: 'reference-kalman', splits: 4, gain: 0.1, transition: 'sampled' } as const;
    for (const precision of ['fp32', 'bf16'] as const)
      await train({ precision, model: { norm }, batchSize: 8, size: 32 });
  },
  async sweep() {
    const small = { batchSize: 4, size: 8, evaluate: true };
    const kalman = { type: 'reference-kalman', splits: 2 } as const;
    await train({ ...small, precision: 'fp16', model: { norm: { ...kalman, gain: 'learned' } } });
    const analytic = { ...kalman, gain: 0.1, transition: 'analytic', beliefPadding: 'reference' } as const;
    await train({ ...small, precision: 'fp32', model: { norm: analytic } });
    await train({ ...small, precision: 'fp32', model: { norm: { type: 'batch', splits: 2 } } });
    for (const precision of ['fp32', 'fp16', 'bf16'] as const) {
      using device = openDevice(DEVICE, { precision });
      await sweep(device);
    }
  },
};

const part = parts[process.argv[2] ?? ''];
if (!part || !process.env.KN_EMULATION_RECORD) {
  console.error(`Set KN_EMULATION_RECORD, and name one of ${Object.keys(parts).join(', ')}.`);
  process.exitCode = 2;
} else {
  await part();
}
