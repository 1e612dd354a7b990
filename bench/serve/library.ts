import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  CifarResNet,
  type Device,
  exportOnnx,
  type InferenceModel,
  loadModel,
  type Module,
  ResNet,
  saveModel,
} from '../../lib/index.js';
import { type Candidate, interleave } from '../peers/interleave.js';
import { type Comparison, compare, median } from '../support/statistics.js';
import { normalValues } from '../support/values.js';
import type { ServeArguments } from './arguments.js';
import { delayDuring } from './delay.js';
import { onnxSession } from './onnx-model.js';

/** Two ways to the same answers, and how long they took, or how long nothing else could run. */
export interface LibraryResult {
  /** The network, the batch, what was measured, and what is divided by what. */
  readonly name: string;
  /** Of a batch, by the first and by the second way. */
  readonly milliseconds: readonly [number, number];
  readonly comparison: Comparison;
}

/** Milliseconds of a turn. */
const TURN = 300;

/** What a worker is told. */
export interface WorkerTask {
  readonly path: string;
  readonly threads: number;
  readonly batch: number;
}

/** Seconds of some batches, values in and logits out. */
export function timeBatches(model: InferenceModel, samples: Float32Array[], steps: number): Promise<number> {
  return timed(() => model.predict(samples), steps);
}

/** Seconds of some runs, one after the other. */
async function timed(run: () => Promise<unknown>, runs: number): Promise<number> {
  const begin = performance.now();
  for (let i = 0; i < runs; i++) await run();
  return (performance.now() - begin) / 1000;
}

/** Samples for a model, the same at each run. */
export function someSamples(model: InferenceModel, batch: number): Float32Array[] {
  return Array.from({ length: batch }, () => normalValues(model.inputSize));
}

/**
 * Without HTTP: networks with `fold: true` against those without, in a worker thread against the main one, and against
 * ONNX Runtime, also in how late the event loop is while a batch runs.
 *
 * @param folder for model files
 * @param peer folder with onnxruntime-node, or null where there is none
 */
export async function compareLibrary(
  device: Device,
  { rounds, threads, smoke }: ServeArguments,
  folder: string,
  peer: string | null,
  report: (result: LibraryResult) => void,
): Promise<LibraryResult[]> {
  const networks: [name: string, size: number, make: () => Module][] = [
    ['ResNet-20, 32 × 32', 32, () => new CifarResNet(device, { n: smoke ? 1 : 3, norm: { type: 'kalman' }, seed: 1 })],
    ['ResNet-18, 64 × 64', 64, () => new ResNet(device, { depth: 18, norm: { type: 'kalman' }, classes: 10, seed: 1 })],
  ];
  const results: LibraryResult[] = [];
  const show = (name: string, mine: readonly number[], other: readonly number[]) => {
    const result = { name, milliseconds: [median(mine), median(other)], comparison: compare(mine, other) } as const;
    results.push(result);
    report(result);
  };
  const measure = async (name: string, candidates: [Candidate, Candidate]) => {
    const [a, b] = await interleave(candidates, { rounds, turn: (smoke ? 1 : TURN) / 1000 });
    const milliseconds = (seconds: readonly number[] = []) => seconds.map((value) => 1000 * value);
    show(name, milliseconds(a?.seconds), milliseconds(b?.seconds));
  };
  for (const [index, [name, size, make]] of networks.entries()) {
    const path = join(folder, `library-${index}.safetensors`);
    using net = make();
    const input = { channels: 3, height: size, width: size };
    await saveModel(path, net.eval(), { input });
    const onnx = join(folder, `library-${index}.onnx`);
    if (peer) await exportOnnx(onnx, net, { input });
    const theirs = peer ? await onnxSession(onnx, { folder: peer, threads }) : null;
    for (const batch of smoke ? [1] : [1, 8, 64]) {
      await using plain = await loadModel(path, { device, maxBatch: batch });
      await using folded = await loadModel(path, { device, maxBatch: batch, fold: true });
      const samples = someSamples(plain, batch);
      await measure(`${name}, batch ${batch}: fold: true / false`, [
        { name: 'folded', run: (steps) => timeBatches(folded, samples, steps) },
        { name: 'plain', run: (steps) => timeBatches(plain, samples, steps) },
      ]);
      const worker = await InWorker.start({ path, threads, batch });
      await measure(`${name}, batch ${batch}: worker / main thread`, [
        { name: 'worker', run: (steps) => worker.run(steps) },
        { name: 'main thread', run: (steps) => timeBatches(folded, samples, steps) },
      ]);
      await worker.stop();
      if (!theirs) continue;
      const [values, shape] = [normalValues(batch * plain.inputSize), [batch, 3, size, size]];
      const [ours, peers] = [() => folded.predict(samples), () => theirs(values, shape)];
      await measure(`${name}, batch ${batch}: kalman-norm / onnxruntime-node`, [
        { name: 'kalman-norm', run: (steps) => timed(ours, steps) },
        { name: 'onnxruntime-node', run: (steps) => timed(peers, steps) },
      ]);
      const delays: [number[], number[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        for (const [i, run] of [ours, peers].entries()) delays[i]?.push(await delayDuring(run));
      }
      show(`${name}, batch ${batch}: the event loop's delay, kalman-norm / onnxruntime-node`, ...delays);
    }
  }
  return results;
}

/** A model in a worker thread, with a device of its own. */
class InWorker {
  private constructor(private readonly worker: Worker) {}

  static async start(task: WorkerTask): Promise<InWorker> {
    const script = JSON.stringify(new URL('worker.ts', import.meta.url).href);
    // Workers get no tsx from --import before Node 20.11: they register it themselves.
    const boot = `import('tsx/esm/api').then(({ register }) => { register(); return import(${script}); });`;
    const worker = new Worker(boot, { eval: true, workerData: task });
    const self = new InWorker(worker);
    await self.answer();
    return self;
  }

  run(steps: number): Promise<number> {
    this.worker.postMessage(steps);
    return this.answer();
  }

  private async answer(): Promise<number> {
    // Rejects where the worker fails.
    const [seconds] = await once(this.worker, 'message');
    return seconds;
  }

  async stop(): Promise<void> {
    await this.worker.terminate();
  }
}
