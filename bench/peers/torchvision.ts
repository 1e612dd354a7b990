import { fileURLToPath } from 'node:url';
import { Worker } from './worker.js';

/** A Python process that decodes the images of a folder as torchvision's ImageFolder does, with random resized crops. */
export class TorchvisionPeer {
  private constructor(
    private readonly worker: Worker,
    /** With those of Pillow and its libjpeg-turbo. */
    readonly version: string,
  ) {}

  /** @throws Error where Python or torchvision isn't there */
  static async start(python: string, folder: string, size: number): Promise<TorchvisionPeer> {
    const script = fileURLToPath(new URL('torchvision_peer.py', import.meta.url));
    const worker = new Worker(python, [script], { PYTHONDONTWRITEBYTECODE: '1' });
    try {
      const { missing, version } = await worker.answer();
      if (missing !== undefined) throw new Error(String(missing));
      await worker.request({ folder, size });
      return new TorchvisionPeer(worker, String(version));
    } catch (error) {
      await worker.close();
      throw error;
    }
  }

  /** Decodes images. @returns the seconds of processor time that they took */
  async decode(indices: readonly number[]): Promise<number> {
    return Number((await this.worker.request({ indices })).seconds);
  }

  close(): Promise<void> {
    return this.worker.close();
  }
}
