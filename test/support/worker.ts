import { parentPort, workerData } from 'node:worker_threads';
import { openDevice, relu } from '../../lib/index.js';

/** Computes in a worker thread what the test asks for; see addon.test.ts. */
const { values, pending } = workerData as { values: number[]; pending: boolean };
const device = openDevice('cpu', { threads: 2 });
const result = await relu(device.tensor(values)).data();
if (pending) {
  // Work that nobody waits for, on a device that nobody disposes.
  const big = device.ones([1 << 20]);
  for (let i = 0; i < 200; i++) relu(big);
  void big.data();
}
parentPort?.postMessage([...result]);
