import { fileURLToPath } from 'node:url';
import type { Precision } from '../../lib/index.js';
import type { Network } from '../support/training-step.js';
import { Worker } from './worker.js';

/** How PyTorch runs a network. */
export interface TorchMode {
  /** Of the candidate. */
  name: string;
  norm: 'bn' | 'kn';
  layout: 'channels_last' | 'contiguous';
  compile: boolean;
  /** Replay the whole step as a CUDA graph, as our recorded steps do. */
  graph: boolean;
}

/** Where PyTorch runs and what it calculates in. */
export interface TorchPlace {
  /** `cpu` or `cuda:N`. */
  device: string;
  /** `fp32` is without TensorFloat-32; `fp16` (its loss unscaled) and `bf16` are by automatic casts. */
  precision: Precision;
}

/** PyTorch's place beside a device of ours. The emulated one has none: there PyTorch takes the CPU, in float32. */
export function torchPlace(device: string, precision: Precision): TorchPlace {
  return device.startsWith('cuda:') ? { device, precision } : { device: 'cpu', precision: 'fp32' };
}

/** Ways to run the network with batch normalization; the fastest of them is the one to beat. */
export const torchBatchNormModes: readonly TorchMode[] = [
  { name: 'torch bn eager channels_last', norm: 'bn', layout: 'channels_last', compile: false, graph: false },
  { name: 'torch bn eager contiguous', norm: 'bn', layout: 'contiguous', compile: false, graph: false },
  { name: 'torch bn compile channels_last', norm: 'bn', layout: 'channels_last', compile: true, graph: false },
  { name: 'torch bn compile contiguous', norm: 'bn', layout: 'contiguous', compile: true, graph: false },
];

/** Kalman normalization, a tensor operation for each line of the reference code; the first is its straight port. */
export const torchKalmanModes: readonly [TorchMode, ...TorchMode[]] = [
  { name: 'torch kn eager contiguous', norm: 'kn', layout: 'contiguous', compile: false, graph: false },
  { name: 'torch kn eager channels_last', norm: 'kn', layout: 'channels_last', compile: false, graph: false },
];

/**
 * Both on a GPU: eager, compiled, and replayed as a CUDA graph, which takes the time between many small kernels away.
 * Tensor cores take channels_last alone.
 */
export const torchGpuModes: readonly TorchMode[] = [
  { name: 'torch bn eager channels_last', norm: 'bn', layout: 'channels_last', compile: false, graph: false },
  { name: 'torch bn graph channels_last', norm: 'bn', layout: 'channels_last', compile: false, graph: true },
  { name: 'torch bn compile channels_last', norm: 'bn', layout: 'channels_last', compile: true, graph: false },
  { name: 'torch kn graph contiguous', norm: 'kn', layout: 'contiguous', compile: false, graph: true },
  { name: 'torch kn graph channels_last', norm: 'kn', layout: 'channels_last', compile: false, graph: true },
];

/** What a network is trained on. */
export type TorchTask = Network & { batch: number; size: number; splits: number };

/** A Python process with PyTorch. */
export class TorchPeer {
  private constructor(
    private readonly worker: Worker,
    /** With those of CUDA and cuDNN, where it uses a GPU. */
    readonly version: string,
    readonly threads: number,
  ) {}

  /**
   * @param threads 0 for PyTorch's default
   * @throws Error where Python, PyTorch or its device isn't there, with the commands that install it
   */
  static async start(python: string, threads: number, place: TorchPlace): Promise<TorchPeer> {
    const script = fileURLToPath(new URL('torch_peer.py', import.meta.url));
    const { device, precision } = place;
    const args = [script, '--threads', String(threads), '--device', device, '--precision', precision];
    const worker = new Worker(python, args, {
      // As for our own threads: whoever waits for its turn must not take a core from the one that has it.
      OMP_WAIT_POLICY: 'passive',
      KMP_BLOCKTIME: '0',
      PYTHONDONTWRITEBYTECODE: '1',
      ...(threads > 0 && { OMP_NUM_THREADS: String(threads) }),
    });
    const greeting = await worker.answer().catch((error: Error) => ({ missing: error.message }));
    if ('missing' in greeting) {
      await worker.close();
      throw new Error(`PyTorch is missing (${greeting.missing}). ${howToInstall(python, device)}`);
    }
    return new TorchPeer(worker, String(greeting.torch), Number(greeting.threads));
  }

  /** Makes a network under a name. @returns its number of parameters */
  async prepare(id: string, mode: TorchMode, task: TorchTask): Promise<number> {
    const { norm, layout, compile, graph } = mode;
    const answer = await this.worker.request({ command: 'prepare', id, norm, layout, compile, graph, ...task });
    return Number(answer.parameters);
  }

  /** Makes training steps. @returns the seconds that they took */
  async run(id: string, steps: number): Promise<number> {
    return Number((await this.worker.request({ command: 'run', id, steps })).seconds);
  }

  async drop(id: string): Promise<void> {
    await this.worker.request({ command: 'drop', id });
  }

  /** Bytes of the process before it made a network, and at most. */
  async memory(): Promise<{ baseline: number; peak: number }> {
    const { baseline, peak } = await this.worker.request({ command: 'memory' });
    return { baseline: Number(baseline), peak: Number(peak) };
  }

  close(): Promise<void> {
    return this.worker.close();
  }
}

function howToInstall(python: string, device: string): string {
  const wheel = device === 'cpu' ? 'torch==2.13.0+cpu' : 'torch==2.13.0';
  const folder = python.endsWith('/bin/python') ? python.slice(0, -'/bin/python'.length) : 'DIR';
  return (
    `Install it with "python3 -m venv ${folder} && ${folder}/bin/pip install '${wheel}' numpy", ` +
    'or name an interpreter with --python or KN_PEER_PYTHON.'
  );
}
