import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import type { LossScaler } from './loss-scaler.js';
import { Optimizer, type OptimizerOptions, operands, optimizerNames } from './optimizer.js';
import type { ParameterGroup, ParameterList } from './parameter-list.js';

declare module '../addon/contract.js' {
  interface Operations {
    sgd(args: {
      parameters: readonly {
        weight: Handle;
        gradient: Handle;
        momentum: Handle;
        weightDecay: number;
        rateFactor: number;
      }[];
      learningRate: Handle;
      momentum: number;
      nesterov: boolean;
      lossScale?: Maybe;
    }): void;
  }
}

/** Options of {@link Sgd}. Its `weightDecay` is the factor of an L2 penalty, weightDecay·sum(w²)/2; default 0. */
export interface SgdOptions extends OptimizerOptions {
  /** Default 0.9. */
  momentum?: number;
  /** Takes the gradient where the momentum leads to; needs momentum. Default false. */
  nesterov?: boolean;
}

const optionNames: OptionNames<SgdOptions> = { ...optimizerNames, momentum: true, nesterov: true };

/**
 * Stochastic gradient descent with momentum, as TensorFlow's MomentumOptimizer and PyTorch's SGD:
 *
 *     v = momentum·v + g,  w -= lr·v;  with Nesterov's momentum  w -= lr·(g + momentum·v)
 *
 * where g includes the gradient of the L2 penalty (Sutskever et al., On the importance of initialization and momentum in
 * deep learning, ICML 2013, for the form of Nesterov's). All parameters are updated in one launch.
 *
 * @example
 * const optimizer = new Sgd(device, model.namedParameters(), 0.1, { weightDecay: 2e-4 });
 * backward(loss);
 * optimizer.step();
 */
export class Sgd extends Optimizer {
  readonly momentum: number;
  readonly nesterov: boolean;

  /**
   * @param parameters by name, or in an array, where their positions are their names; or in groups. One that comes several
   *   times is trained once.
   * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters, or hyper-parameters outside their domain; see
   *   {@link Optimizer}
   */
  constructor(
    device: Device,
    parameters: ParameterList | readonly ParameterGroup[],
    learningRate: number,
    options: SgdOptions = {},
  ) {
    checkOptions('Sgd', options, optionNames);
    const { momentum = 0.9, nesterov = false } = options;
    check(momentum >= 0 && momentum <= 1, 'INVALID_ARGUMENT', `Sgd: momentum must be between 0 and 1, got ${momentum}`);
    check(!nesterov || momentum > 0, 'INVALID_ARGUMENT', 'Sgd: nesterov needs momentum, got momentum 0');
    super(device, parameters, learningRate, options, { buffers: ['momentum'] });
    this.momentum = momentum;
    this.nesterov = nesterov;
  }

  /** Momentum buffers by the names of their parameters. */
  namedBuffers(): Map<string, Tensor> {
    return this.buffersOf('momentum');
  }

  protected update(gradients: readonly Tensor[], learningRate: Tensor, scaler: LossScaler | null): void {
    native.sgd({
      parameters: this.slots.map((slot, i) => ({
        ...operands(slot, gradients[i] as Tensor),
        momentum: (slot.buffers.momentum as Tensor).handle,
      })),
      learningRate: learningRate.handle,
      momentum: this.momentum,
      nesterov: this.nesterov,
      lossScale: scaler?.handle ?? null,
    });
  }

  /** The L2 penalty that the step descends: sum over decayed parameters of weightDecay·sum(w²)/2, in float64. */
  async penalty(): Promise<number> {
    let sum = 0;
    for (const { weight, weightDecay } of this.slots) {
      if (weightDecay === 0) continue;
      let squares = 0;
      for (const w of await weight.data()) squares += w * w;
      sum += (weightDecay * squares) / 2;
    }
    return sum;
  }
}
