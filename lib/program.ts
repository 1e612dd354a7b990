import type { MemoryStats, NativeDevice, NativeProgram } from './addon/contract.js';
import { check } from './errors.js';

/** A recorded step; see {@link Device.record}. */
export class Program {
  private handle: NativeProgram | null;

  /** @internal */
  constructor(
    private readonly device: { readonly native: NativeDevice },
    handle: NativeProgram,
  ) {
    this.handle = handle;
  }

  private get native(): NativeProgram {
    check(this.handle !== null, 'DISPOSED', 'program: used after its disposal');
    return this.handle;
  }

  /** Launches of one replay. */
  get launches(): number {
    return this.native.launches;
  }

  /** Memory that the program owns. */
  memoryStats(): MemoryStats {
    return this.native.memory;
  }

  /** Enqueues `count` replays: one call, whatever the number of launches. */
  run(count = 1): void {
    check(Number.isInteger(count) && count >= 0, 'INVALID_ARGUMENT', `run: count must be a whole number, got ${count}`);
    this.device.native.replay(this.native, count);
  }

  /** Gives the program's memory back to the device's pool once enqueued replays have run. */
  dispose(): void {
    this.handle?.dispose();
    this.handle = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
