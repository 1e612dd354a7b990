import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { noScope } from '../scope.js';
import { type Device, Tensor } from '../tensor.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** `lossScale`: [factor, steps since it changed, whether a gradient of this step isn't finite]; writes the last. */
    checkFinite(args: { gradients: readonly Handle[]; lossScale: Handle }): void;
    updateLossScale(args: { lossScale: Handle; growth: number; backoff: number; interval: number }): void;
  }
}

/** Options of {@link LossScaler}. */
export interface LossScalerOptions {
  /** The first factor, a power of two so that scaling rounds nothing; default 2^15. */
  initial?: number;
  /** The factor doubles after so many steps whose gradients were all finite; default 2000. */
  growthInterval?: number;
}

const optionNames: OptionNames<LossScalerOptions> = { initial: true, growthInterval: true };

/**
 * Dynamic loss scaling (Micikevicius et al., Mixed precision training, ICLR 2018): the loss is multiplied by a factor so
 * that small gradients survive in float16, and the optimiser divides by it. The factor halves when a gradient overflows
 * and doubles after a long time without. It lies in device memory, so a recorded step adapts it at each replay.
 *
 * @example
 * const scaler = new LossScaler(device);
 * backward(loss, scaler.factor);
 * optimizer.step(scaler);
 */
export class LossScaler {
  private readonly state: Tensor;
  private readonly growthInterval: number;
  /** What flows into the loss, [1]. */
  readonly factor: Tensor;

  constructor(device: Device, options: LossScalerOptions = {}) {
    checkDevice('LossScaler', device);
    checkOptions('LossScaler', options, optionNames);
    const { initial = 2 ** 15, growthInterval = 2000 } = options;
    check(
      initial >= 1 && initial <= 2 ** 24,
      'INVALID_ARGUMENT',
      `LossScaler: initial must be between 1 and 2^24, got ${initial}`,
    );
    check(
      Number.isInteger(growthInterval) && growthInterval >= 1 && growthInterval <= 2 ** 24,
      'INVALID_ARGUMENT',
      `LossScaler: growthInterval must be a whole number between 1 and 2^24, got ${growthInterval}`,
    );
    this.growthInterval = growthInterval;
    this.state = noScope(() => device.tensor([initial, 0, 0]));
    this.factor = noScope(() => new Tensor(device, this.state.handle.samples(0, 1)));
  }

  /** @internal */
  get handle(): Handle {
    return this.state.handle;
  }

  /** What it goes on from, by name. */
  stateDict(): Map<string, Tensor> {
    return new Map([['state', this.state]]);
  }

  /** The factor that the next step uses. */
  async value(): Promise<number> {
    return (await this.state.data())[0] as number;
  }

  /** @internal Notes whether all gradients of this step are finite. */
  inspect(gradients: readonly Handle[]): void {
    native.checkFinite({ gradients, lossScale: this.state.handle });
  }

  /** @internal Adapts the factor after a step. */
  update(): void {
    native.updateLossScale({
      lossScale: this.state.handle,
      growth: 2,
      backoff: 0.5,
      interval: this.growthInterval,
    });
  }

  /** Frees the factor and its state. A second call does nothing. */
  dispose(): void {
    this.factor.dispose();
    this.state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
