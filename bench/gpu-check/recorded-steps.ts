/**
 * Training steps by themselves, recorded after the first, with branches and without, and recorded from the first on: the
 * same bits. Arguments: the device's name, and whether steps by themselves are enough (`eager`).
 */

import { createHash } from 'node:crypto';
import {
  backward,
  CifarResNet,
  crossEntropy,
  DeviceRandom,
  type NormSpec,
  openDevice,
  type Precision,
  Sgd,
  scope,
} from '../../lib/index.js';
import { normalValues, volume } from '../support/values.js';

const norms: Record<string, NormSpec> = {
  batch: { type: 'batch', splits: 4 },
  kalman: { type: 'kalman', splits: 4 },
  'kalman, observed': { type: 'kalman', splits: 4, transitionGradient: 'observed' },
  'reference-kalman': { type: 'reference-kalman', splits: 4, gain: 0.1 },
};
const ways = ['eager', 'in a row', 'warm', 'cold'] as const;
const steps = 4;

/** The network's state after some steps, as a digest. */
async function train(name: string, precision: Precision, norm: NormSpec, way: (typeof ways)[number]): Promise<string> {
  process.env.KN_DEBUG_BRANCHES = way === 'in a row' ? '0' : '1';
  using device = openDevice(name, { precision });
  const model = new CifarResNet(device, { n: 1, norm, seed: 1 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.05, { momentum: 0.9 });
  const random = new DeviceRandom(device, 1);
  const shape = [8, 3, 16, 16];
  const images = device.tensor(normalValues(volume(shape)), shape);
  const labels = device.tensor(Int32Array.from({ length: 8 }, (_, i) => i % 10));
  const step = () => {
    scope(() => {
      model.zeroGrad();
      backward(crossEntropy(model.forward(images, random), labels).loss);
      optimizer.step();
    });
    random.advance();
  };
  const eager = { eager: steps, 'in a row': 1, warm: 1, cold: 0 }[way];
  for (let i = 0; i < eager; i++) step();
  if (eager < steps) device.record(step).program.run(steps - eager);
  const hash = createHash('sha256');
  for (const [parameter, { data }] of await model.stateValues()) {
    if (data.some((value) => !Number.isFinite(Number(value)))) throw new Error(`${parameter} isn't finite`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

const [name = 'cuda:0', only] = process.argv.slice(2);
let passed = 0;
let failed = 0;
for (const precision of ['fp32', 'bf16', 'fp16'] as const) {
  for (const [title, norm] of Object.entries(norms)) {
    let expected: string | null = null;
    for (const way of only === 'eager' ? (['eager'] as const) : ways) {
      const label = `${title}, ${precision}, ${way}`;
      try {
        const found = await train(name, precision, norm, way);
        expected ??= found;
        if (found !== expected) throw new Error('other values than those of eager steps');
        passed++;
        console.log(`pass  ${label}`);
      } catch (error) {
        failed++;
        console.log(`FAIL  ${label}: ${(error as Error).message}`);
      }
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
