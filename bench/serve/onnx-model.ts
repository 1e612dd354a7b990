import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { ClassifyOptions, InferenceModel, ModelInfo, Sample } from '../../lib/index.js';
import { Batcher } from '../../lib/serve/batcher.js';
import { likeliest } from '../../lib/serve/classification.js';
import { SampleReader } from '../../lib/serve/samples.js';

/** As much of onnxruntime-node as is used here. */
interface Runtime {
  InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: object): Promise<{ output: { data: Float32Array } }> }>;
  };
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => object;
}

/** Where onnxruntime-node's version stands, in a folder that has it in its `node_modules`. @throws where it hasn't */
export function onnxRuntimeVersion(folder: string): string {
  return createRequire(join(folder, 'none.js'))('onnxruntime-node/package.json').version;
}

/** What ONNX Runtime needs, and of which the threads are 0 for its own choice. */
interface SessionOptions {
  /** Whose `node_modules` has onnxruntime-node. */
  readonly folder: string;
  readonly threads: number;
}

/** A batch's values into the network's outputs, one sample's behind the other's. */
export type RunBatch = (values: Float32Array, shape: readonly number[]) => Promise<Float32Array>;

/** An exported network in ONNX Runtime. */
export async function onnxSession(path: string, { folder, threads }: SessionOptions): Promise<RunBatch> {
  const { InferenceSession, Tensor } = createRequire(join(folder, 'none.js'))('onnxruntime-node') as Runtime;
  const session = await InferenceSession.create(
    await readFile(path),
    threads > 0 ? { intraOpNumThreads: threads } : {},
  );
  return async (values, shape) => (await session.run({ input: new Tensor('float32', values, shape) })).output.data;
}

/**
 * ONNX Runtime in the place of our model: samples are read, gathered and answered by the same code, so that the services
 * differ in what runs the network alone.
 */
export async function onnxModel(
  path: string,
  { info, outputs }: Pick<InferenceModel, 'info' | 'outputs'>,
  { folder, threads, maxBatch, maxQueue }: SessionOptions & { maxBatch: number; maxQueue: number },
): Promise<InferenceModel> {
  const session = await onnxSession(path, { folder, threads });
  const { channels, height, width } = info.input as NonNullable<ModelInfo['input']>;
  const size = channels * height * width;
  const samples = new SampleReader(info, { channels, height, width }, 2 ** 25);
  let queued = 0;

  const run = async (inputs: Float32Array[]): Promise<Float32Array[]> => {
    const batch = new Float32Array(inputs.length * size);
    for (const [i, input] of inputs.entries()) batch.set(input, i * size);
    const logits = await session(batch, [inputs.length, channels, height, width]);
    return inputs.map((_, i) => logits.slice(i * outputs, (i + 1) * outputs));
  };
  const batcher = new Batcher(run, { maxBatch, maxDelay: 0 });
  const model: Pick<InferenceModel, 'info' | 'outputs' | 'maxQueue' | 'queued'> & { classify: unknown } = {
    info,
    outputs,
    maxQueue,
    get queued() {
      return queued;
    },
    async classify(image: Sample, { topK = 5, signal }: ClassifyOptions = {}) {
      queued++;
      try {
        const [values] = await samples.read(image);
        return likeliest(await batcher.add(values as Float32Array, signal), topK, info.classNames);
      } finally {
        queued--;
      }
    },
  };
  return model as InferenceModel;
}
