import { checkDevice } from '../arguments.js';
import { DeviceRandom } from '../device-random.js';
import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { dropout } from '../ops/dropout.js';
import { checkOptions, type OptionNames } from '../options.js';
import { initialRandom } from '../random.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { thinned } from './transition.js';

/** Options of {@link Dropout}. */
export interface DropoutOptions {
  /** Of its random stream, a whole number from 0 to 2^53 - 1; default: from the thread's stream, see {@link manualSeed}. */
  seed?: number;
}

const optionNames: OptionNames<DropoutOptions> = { seed: true };

/**
 * Dropout (Srivastava et al. 2014): in training each value is 0 with probability `rate`, and else divided by 1 - rate; in
 * inference nothing happens.
 *
 * `randomState`: [3], int32, where the layer's own random stream stands: every forward draws anew, also where a recorded
 * step is replayed, and a run that is resumed goes on with the same draws.
 *
 * @example
 * const net = new Sequential(new Linear(device, 64, 64), new ReLU(), new Dropout(device, 0.5), new Linear(device, 64, 10));
 */
export class Dropout extends Layer {
  static readonly type = 'Dropout';
  readonly randomState: Tensor;
  private readonly random: DeviceRandom;

  /** @param rate probability that a value is dropped, at least 0 and below 1; default 0.5 */
  constructor(
    device: Device,
    readonly rate = 0.5,
    options: DropoutOptions = {},
  ) {
    super();
    checkDevice('Dropout', device);
    checkOptions('Dropout', options, optionNames);
    check(
      rate >= 0 && rate < 1,
      'INVALID_ARGUMENT',
      () => `Dropout: rate must be a number of at least 0 and below 1, got ${String(rate)}`,
    );
    const { seed = initialRandom().word() >>> 0 } = options;
    this.random = noScope(() => new DeviceRandom(device, seed));
    this.randomState = this.buffer(() => this.random.stateDict().get('state') as Tensor);
  }

  static plan(spec: SpecReader): ModulePlan {
    const rate = spec.value<number>(
      'rate',
      (value) => typeof value === 'number' && value >= 0 && value < 1,
      'a number of at least 0 and below 1',
      0.5,
    );
    return { values: 3, build: (device) => new Dropout(device, rate) };
  }

  override spec(): ModuleSpec {
    return { type: Dropout.type, rate: this.rate };
  }

  override forward(x: Tensor): Tensor {
    if (!this.training || this.rate === 0) return x;
    const y = dropout(x, this.rate, this.random);
    this.random.advance();
    return y;
  }

  /** The mean stays; the variance grows by rate / (1 - rate)·(mean² + variance). */
  protected override transition(belief: Belief): Belief {
    return this.training && this.rate > 0 ? thinned(belief, this.rate) : belief;
  }
}

registerModule(Dropout);
