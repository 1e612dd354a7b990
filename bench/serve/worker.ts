/** A model in a worker thread: runs as many batches as it is told, and answers with the seconds. */

import { parentPort, workerData } from 'node:worker_threads';
import { loadModel, openDevice } from '../../lib/index.js';
import { someSamples, timeBatches, type WorkerTask } from './library.js';

const { path, threads, batch } = workerData as WorkerTask;
const model = await loadModel(path, { device: openDevice('cpu', { threads }), maxBatch: batch, fold: true });
const samples = someSamples(model, batch);
parentPort?.on('message', async (steps: number) => {
  parentPort?.postMessage(await timeBatches(model, samples, steps));
});
parentPort?.postMessage(0);
