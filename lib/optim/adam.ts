import { native } from '../addon/load.js';
import { checkObjects } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import type { LossScaler } from './loss-scaler.js';
import { Optimizer, type OptimizerOptions, operands, optimizerNames } from './optimizer.js';
import type { ParameterGroup, ParameterList } from './parameter-list.js';

declare module '../addon/contract.js' {
  interface Operations {
    adam(args: {
      parameters: readonly {
        weight: Handle;
        gradient: Handle;
        first: Handle;
        second: Handle;
        weightDecay: number;
        rateFactor: number;
      }[];
      learningRate: Handle;
      steps: Handle;
      options: { beta1: number; beta2: number; epsilon: number; decoupled: boolean };
      lossScale?: Maybe;
    }): void;
  }
}

/** Options of {@link Adam} and {@link AdamW}. */
export interface AdamOptions extends OptimizerOptions {
  /** Decay of the mean of gradients; at least 0 and below 1, default 0.9. */
  beta1?: number;
  /** Decay of the mean of squared gradients; at least 0 and below 1, default 0.999. */
  beta2?: number;
  /** Added to the root of the second mean; positive, default 1e-8. */
  epsilon?: number;
}

const optionNames: OptionNames<AdamOptions> = { ...optimizerNames, beta1: true, beta2: true, epsilon: true };

/**
 * Adam (Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1): in step t, with gradient g,
 *
 *     m = β₁·m + (1 - β₁)·g,  v = β₂·v + (1 - β₂)·g²,
 *     w -= lr · m / (1 - β₁ᵗ) / (sqrt(v / (1 - β₂ᵗ)) + ε)
 *
 * `weightDecay` (default 0) is the factor of an L2 penalty, whose gradient g includes; {@link AdamW} is mostly better with
 * weight decay. A step that is left out under a {@link LossScaler} isn't counted. All parameters are updated in one launch;
 * the state has `steps` [1] (int32) and the means `first.NAME` and `second.NAME`.
 *
 * @example
 * const optimizer = new Adam(device, model.namedParameters(), 1e-3);
 */
export class Adam extends Optimizer {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Whether weights decay by themselves, and not by a penalty in the gradient. */
  protected readonly decoupled: boolean = false;

  /**
   * @param parameters by name, or in an array, where their positions are their names; or in groups. One that comes several
   *   times is trained once.
   * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters, or hyper-parameters outside their domain; see
   *   {@link Optimizer}
   */
  constructor(
    device: Device,
    parameters: ParameterList | readonly ParameterGroup[],
    learningRate = 1e-3,
    options: AdamOptions = {},
  ) {
    checkOptions(new.target.name, options, optionNames);
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = options;
    const name = new.target.name;
    for (const [key, beta] of Object.entries({ beta1, beta2 })) {
      check(beta >= 0 && beta < 1, 'INVALID_ARGUMENT', `${name}: ${key} must be at least 0 and below 1, got ${beta}`);
    }
    check(
      Number.isFinite(epsilon) && Math.fround(epsilon) > 0,
      'INVALID_ARGUMENT',
      `${name}: epsilon must be a positive number of float32, got ${epsilon}`,
    );
    super(device, parameters, learningRate, options, { buffers: ['first', 'second'], counters: ['steps'] });
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
  }

  protected update(gradients: readonly Tensor[], learningRate: Tensor, scaler: LossScaler | null): void {
    const { beta1, beta2, epsilon, decoupled } = this;
    native.adam({
      parameters: this.slots.map((slot, i) => ({
        ...operands(slot, gradients[i] as Tensor),
        first: (slot.buffers.first as Tensor).handle,
        second: (slot.buffers.second as Tensor).handle,
      })),
      learningRate: learningRate.handle,
      steps: (this.counters.steps as Tensor).handle,
      options: { beta1, beta2, epsilon, decoupled },
      lossScale: scaler?.handle ?? null,
    });
  }
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019), as
 * PyTorch's AdamW: weights shrink by themselves, w -= lr·weightDecay·w, before {@link Adam}'s step, whose gradient has no
 * part in it. `weightDecay` is 0.01 by default.
 *
 * @example
 * const optimizer = new AdamW(device, model.namedParameters(), 1e-3, { weightDecay: 0.05 });
 */
export class AdamW extends Adam {
  protected override readonly decoupled = true;

  /** As of {@link Adam}. */
  constructor(
    device: Device,
    parameters: ParameterList | readonly ParameterGroup[],
    learningRate = 1e-3,
    options: AdamOptions = {},
  ) {
    checkObjects('AdamW', { options });
    super(device, parameters, learningRate, { ...options, weightDecay: options.weightDecay ?? 0.01 });
  }
}
