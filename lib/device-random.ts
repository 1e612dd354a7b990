import type { RandomSource } from './addon/contract.js';
import { native } from './addon/load.js';
import { checkDevice } from './arguments.js';
import { check } from './errors.js';
import { noScope } from './scope.js';
import type { Device, Tensor } from './tensor.js';

/**
 * A source of random numbers on a device: Philox4x32-10, keyed by the seed. Each draw has a number of its own within a
 * step, and each step a number that lies in device memory; so a recorded step draws anew at every replay, and a run is
 * the same, eager or replayed.
 */
export class DeviceRandom {
  /** Key (two words) and number of the step. */
  private readonly state: Tensor;
  private stream = 0;

  /**
   * @param seed a whole number from 0 to 2^53 - 1
   */
  constructor(
    readonly device: Device,
    readonly seed: number,
  ) {
    checkDevice('DeviceRandom', device);
    check(
      Number.isSafeInteger(seed) && seed >= 0,
      'INVALID_ARGUMENT',
      `DeviceRandom: seed must be a whole number from 0 to 2^53 - 1, got ${seed}`,
    );
    const key = Int32Array.of(seed % 2 ** 32, Math.floor(seed / 2 ** 32), 0);
    this.state = noScope(() => device.tensor(key));
  }

  /** The source of the next draw of this step. @internal */
  next(): RandomSource {
    return { state: this.state.handle, stream: this.stream++ };
  }

  /** Ends a step: the following draws come from the next one. */
  advance(): void {
    this.stream = 0;
    const step = this.state.handle.samples(2, 1);
    native.advance({ counter: step, by: 1 });
    step.dispose();
  }

  /** What the stream goes on from, by name. */
  stateDict(): Map<string, Tensor> {
    return new Map([['state', this.state]]);
  }

  /** The number of the step that draws come from. */
  async step(): Promise<number> {
    return (await this.state.data())[2] as number;
  }

  /** Continues at a step, as after a restart. */
  seek(step: number): void {
    check(
      Number.isInteger(step) && step >= 0 && step < 2 ** 31,
      'INVALID_ARGUMENT',
      `seek: step must be a whole number from 0 to 2^31 - 1, got ${step}`,
    );
    this.stream = 0;
    this.state.write(Int32Array.of(this.seed % 2 ** 32, Math.floor(this.seed / 2 ** 32), step));
  }

  /** Frees the stream's state on the device. A second call does nothing. */
  dispose(): void {
    this.state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
