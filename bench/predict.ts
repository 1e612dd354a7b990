/**
 * `npm run gpu:predict`: what a training step would take on an H100, computed from the bytes that it moves, its operations
 * and its launches. A prediction, not a measurement: no GPU runs here.
 */

import { openDevice } from '../lib/index.js';
import { type Traffic, trafficOf } from './predict/traffic.js';
import { methods } from './support/methods.js';
import { TrainingStep } from './support/training-step.js';

/** The maker's figures of an H100 SXM, and the shares of them that such kernels reach. */
const gpu = {
  bandwidth: 3.35e12,
  /** cuDNN's normalizations reach 0.71 to 0.80 on tensors of 100 MB, less on small ones; most here are 2 to 8 MB. */
  bandwidthShare: 0.6,
  fp32: 67e12,
  tensor: 990e12,
  /** Of the peak, for 3 x 3 convolutions of 16 to 64 channels; a guess. */
  convolutionShare: { fp32: 0.5, bf16: 0.1 },
  /** Seconds that a kernel takes at least, and that a launch from the host takes. */
  kernel: 2e-6,
  launch: 5e-6,
};
const batch = 128;

interface Step {
  method: string;
  n: number;
  precision: 'fp32' | 'bf16';
  launches: number;
  traffic: Traffic[];
}

async function inspect(method: string, n: number, precision: Step['precision']): Promise<Step> {
  using device = openDevice('cuda-emulated', { precision });
  const { norm } = Object.values(methods(batch)).find(({ name }) => name === method)!;
  let step: TrainingStep | null = null;
  // Recorded, not run: the emulation would take minutes.
  const traffic = trafficOf(() => {
    step = new TrainingStep(device, { n, norm, batch, size: 32, eager: false });
  }, precision === 'bf16');
  const { launches } = step!;
  (step as TrainingStep | null)?.dispose();
  await device.synchronize(); // only then its memory is given back
  return { method, n, precision, launches: launches!, traffic };
}

function predict({ precision, launches, traffic }: Step): { replayed: number; eager: number } {
  const peak = precision === 'fp32' ? gpu.fp32 : gpu.tensor;
  const work = traffic.reduce((sum, { moved, operations }) => {
    const memory = moved / (gpu.bandwidth * gpu.bandwidthShare);
    return sum + Math.max(memory, operations / (peak * gpu.convolutionShare[precision]));
  }, 0);
  const replayed = Math.max(work, launches * gpu.kernel);
  return { replayed, eager: Math.max(replayed, launches * gpu.launch) };
}

const mebi = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
const steps: Step[] = [];
for (const n of [5, 18]) {
  for (const method of ['bn S=1', 'bn S=64', 'kn sampled S=64', 'kn analytic S=64']) {
    for (const precision of ['fp32', 'bf16'] as const) steps.push(await inspect(method, n, precision));
  }
}

console.log(
  '| method | n | precision | launches | MiB needed | MiB moved | GFLOP | replayed, ms | eager, ms | images/s replayed |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const step of steps) {
  const sum = (key: 'needed' | 'moved' | 'operations') => step.traffic.reduce((total, entry) => total + entry[key], 0);
  const { replayed, eager } = predict(step);
  const cells = [
    step.method,
    step.n,
    step.precision,
    step.launches,
    mebi(sum('needed')),
    mebi(sum('moved')),
    (sum('operations') / 1e9).toFixed(0),
    (replayed * 1e3).toFixed(1),
    (eager * 1e3).toFixed(1),
    Math.round(batch / replayed),
  ];
  console.log(`| ${cells.join(' | ')} |`);
}

for (const step of steps.filter(({ n, precision }) => n === 5 && precision === 'bf16')) {
  console.log(`\n${step.method}, n = 5, bf16, batch ${batch}\n`);
  console.log('| operation | calls | MiB needed | MiB moved | moved / needed |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const { name, calls, needed, moved } of step.traffic) {
    console.log(`| ${name} | ${calls} | ${mebi(needed)} | ${mebi(moved)} | ${(moved / needed).toFixed(2)} |`);
  }
}
