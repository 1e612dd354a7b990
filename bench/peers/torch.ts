import { fileURLToPath } from 'node:url';
import { Worker } from './worker.js';

/** How PyTorch runs a network. */
export interface TorchMode {
  /** Of the contender. */
  name: string;
  norm: 'bn' | 'kn';
  layout: 'channels_last' | 'contiguous';
  compile: boolean;
}

/** Ways to run the network with batch normalization; the fastest of them is the one to beat. */
export const torchBatchNormModes: readonly TorchMode[] = [
  { name: 'torch bn eager channels_last', norm: 'bn', layout: 'channels_last', compile: false },
  { name: 'torch bn eager contiguous', norm: 'bn', layout: 'contiguous', compile: false },
  { name: 'torch bn compile channels_last', norm: 'bn', layout: 'channels_last', compile: true },
  { name: 'torch bn compile contiguous', norm: 'bn', layout: 'contiguous', compile: true },
];

/** Kalman normalization, a tensor operation for each line of the reference code; the first is its straight port. */
export const torchKalmanModes: readonly [TorchMode, ...TorchMode[]] = [
  { name: 'torch kn eager contiguous', norm: 'kn', layout: 'contiguous', compile: false },
  { name: 'torch kn eager channels_last', norm: 'kn', layout: 'channels_last', compile: false },
];

/** What a network is trained on. */
export interface TorchTask {
  n: number;
  batch: number;
  size: number;
  splits: number;
}

/** A Python process with PyTorch. */
export class TorchPeer {
  private constructor(
    private readonly worker: Worker,
    readonly version: string,
    readonly threads: number,
  ) {}

  /**
   * @param threads 0 for PyTorch's default
   * @throws Error where Python or PyTorch isn't there, with the commands that install it
   */
  static async start(python: string, threads: number): Promise<TorchPeer> {
    const script = fileURLToPath(new URL('torch_peer.py', import.meta.url));
    const worker = new Worker(python, [script, '--threads', String(threads)], {
      // As for our own threads: whoever waits for its turn must not take a core from the one that has it.
      OMP_WAIT_POLICY: 'passive',
      KMP_BLOCKTIME: '0',
      PYTHONDONTWRITEBYTECODE: '1',
      ...(threads > 0 && { OMP_NUM_THREADS: String(threads) }),
    });
    const greeting = await worker.answer().catch((error: Error) => ({ missing: error.message }));
    if ('missing' in greeting) {
      await worker.close();
      throw new Error(`PyTorch is missing (${greeting.missing}). ${howToInstall(python)}`);
    }
    return new TorchPeer(worker, String(greeting.torch), Number(greeting.threads));
  }

  /** Makes a network under a name. @returns its number of parameters */
  async prepare(id: string, mode: TorchMode, task: TorchTask): Promise<number> {
    const { norm, layout, compile } = mode;
    const answer = await this.worker.request({ command: 'prepare', id, norm, layout, compile, ...task });
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

function howToInstall(python: string): string {
  const folder = python.endsWith('/bin/python') ? python.slice(0, -'/bin/python'.length) : 'DIR';
  return (
    `Install it with "python3 -m venv ${folder} && ${folder}/bin/pip install 'torch==2.13.0+cpu' numpy", ` +
    'or name an interpreter with --python or KN_PEER_PYTHON.'
  );
}
