/** examples/service as a process of its own, around our model or ONNX Runtime's; says over IPC how it fares. */

import { buildService } from '../../examples/service/app.js';
import {
  type ClassifyOptions,
  type InferenceModel,
  loadModel,
  type ModelInfo,
  openDevice,
  type Sample,
} from '../../lib/index.js';
import { likeliest } from '../../lib/serve/classification.js';
import { SampleReader } from '../../lib/serve/samples.js';
import { LoopDelay } from './delay.js';
import { onnxModel } from './onnx-model.js';

/** What a server is told, as its one argument in JSON. */
export interface ServerTask {
  /** With the network. */
  readonly model: string;
  /** The same network for ONNX Runtime, and the folder that has it; null for our own. */
  readonly onnx: { readonly path: string; readonly folder: string } | null;
  /** Read samples, but run no network: what the service itself costs. */
  readonly idle: boolean;
  readonly threads: number;
  readonly maxBatch: number;
}

/** How a server has fared since it was last asked. */
export interface ServerState {
  /** Milliseconds that the event loop was late: what 99 % of its turns stay below, and the most. */
  readonly delayP99: number;
  readonly delayMax: number;
  readonly rssBytes: number;
  /** V8's heap, as it is taken from the system: its young part grows and shrinks with the load. */
  readonly heapBytes: number;
}

const MAX_QUEUE = 4096;

/** A model that looks at its samples and answers all of them alike. */
function idleModel({ info, outputs, maxQueue }: InferenceModel): InferenceModel {
  const samples = new SampleReader(info, info.input as NonNullable<ModelInfo['input']>, 2 ** 25);
  const logits = Float32Array.from({ length: outputs }, (_, i) => i);
  const model: Pick<InferenceModel, 'info' | 'outputs' | 'maxQueue' | 'queued'> & { classify: unknown } = {
    info,
    outputs,
    maxQueue,
    queued: 0,
    async classify(image: Sample, { topK = 5 }: ClassifyOptions = {}) {
      await samples.read(image);
      return likeliest(logits, topK, info.classNames);
    },
  };
  return model as InferenceModel;
}

async function open({ model: path, onnx, idle, threads, maxBatch }: ServerTask): Promise<InferenceModel> {
  const device = openDevice('cpu', { threads: onnx ? 1 : threads });
  const ours = await loadModel(path, { device, maxBatch, maxQueue: MAX_QUEUE, fold: true });
  if (idle) return idleModel(ours);
  return onnx ? onnxModel(onnx.path, ours, { folder: onnx.folder, threads, maxBatch, maxQueue: MAX_QUEUE }) : ours;
}

const model = await open(JSON.parse(process.argv[2] as string) as ServerTask);
const app = await buildService({ model, requestsPerMinute: 1e9, timeout: 60_000, maxEventLoopDelay: 0 });
const url = await app.listen({ host: '127.0.0.1', port: 0 });
const delay = new LoopDelay();
process.on('message', () => {
  const { rss, heapTotal } = process.memoryUsage();
  const { p99, max } = delay.take();
  const state: ServerState = { delayP99: p99, delayMax: max, rssBytes: rss, heapBytes: heapTotal };
  process.send?.(state);
});
process.send?.(url);
