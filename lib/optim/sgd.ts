import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { noScope } from '../scope.js';
import { checkState, readState, type StateValues, writeState } from '../state.js';
import type { Device, Tensor } from '../tensor.js';
import type { LossScaler } from './loss-scaler.js';
import { distinctParameters, type NamedParameter, type ParameterList } from './parameter-list.js';

declare module '../addon/contract.js' {
  interface Operations {
    sgd(args: {
      parameters: readonly { weight: Handle; gradient: Handle; momentum: Handle; weightDecay: number }[];
      learningRate: Handle;
      momentum: number;
      lossScale?: Maybe;
    }): void;
  }
}

/** Options of {@link Sgd}. */
export interface SgdOptions {
  /** Default 0.9. */
  momentum?: number;
  /** Factor of the L2 penalty weightDecay·sum(w²)/2; default 0. */
  weightDecay?: number;
  /** Which parameters the penalty covers, by name; default those of rank 2 and 4: matrices and filters, no vectors. */
  decays?: (name: string, parameter: Tensor) => boolean;
}

/**
 * Stochastic gradient descent with momentum, as TensorFlow's MomentumOptimizer: acc = momentum·acc + g, w -= lr·acc,
 * where g includes the gradient of the L2 penalty. All parameters are updated in one launch. The learning rate lies in
 * device memory: a recorded step reads it at each replay.
 *
 * @example
 * const optimizer = new Sgd(device, model.namedParameters(), 0.1, { weightDecay: 2e-4 });
 * backward(loss);
 * optimizer.step();
 */
export class Sgd {
  readonly momentum: number;
  readonly weightDecay: number;
  private readonly rate: Tensor;
  private rateValue: number;
  private readonly slots: (NamedParameter & { buffer: Tensor; weightDecay: number })[];

  /**
   * @param parameters by name, or in an array, where their positions are their names. One that comes several times is
   *   trained once.
   * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters, or hyper-parameters outside their domain
   */
  constructor(device: Device, parameters: ParameterList, learningRate: number, options: SgdOptions = {}) {
    const { momentum = 0.9, weightDecay = 0, decays = (_, parameter) => parameter.shape.length > 1 } = options;
    check(momentum >= 0 && momentum <= 1, 'INVALID_ARGUMENT', `Sgd: momentum must be between 0 and 1, got ${momentum}`);
    checkNotNegative('weightDecay', weightDecay);
    checkNotNegative('learningRate', learningRate);
    const distinct = distinctParameters('Sgd', parameters);
    this.momentum = momentum;
    this.weightDecay = weightDecay;
    this.rateValue = learningRate;
    this.rate = noScope(() => device.tensor([learningRate]));
    this.slots = distinct.map((parameter) => ({
      ...parameter,
      buffer: noScope(() => device.zeros(parameter.weight.shape, { format: parameter.weight.format })),
      weightDecay: parameter.names.some((name) => decays(name, parameter.weight)) ? weightDecay : 0,
    }));
  }

  get learningRate(): number {
    return this.rateValue;
  }

  set learningRate(value: number) {
    checkNotNegative('learningRate', value);
    if (value === this.rateValue) return;
    this.rate.write(Float32Array.of(value));
    this.rateValue = value;
  }

  /** Momentum buffers by the names of their parameters. */
  namedBuffers(): Map<string, Tensor> {
    return new Map(this.slots.flatMap(({ names, buffer }) => names.map((name) => [name, buffer])));
  }

  /** What training goes on from, by name: `learningRate` [1], and `momentum.NAME` of each parameter's shape. */
  stateDict(): Map<string, Tensor> {
    const buffers = [...this.namedBuffers()].map(([name, buffer]) => [`momentum.${name}`, buffer] as const);
    return new Map([['learningRate', this.rate], ...buffers]);
  }

  /** The values of {@link Sgd.stateDict}, read from the device. */
  stateValues(): Promise<StateValues> {
    return readState(this.stateDict());
  }

  /**
   * Overwrites the learning rate and all buffers. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; `INVALID_ARGUMENT` for a
   *   learning rate below 0; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    checkState(this.stateDict(), state, 'optimizer');
    const [rate = 0] = state.get('learningRate')?.data ?? [];
    checkNotNegative('learningRate', rate);
    writeState(this.stateDict(), state, 'optimizer');
    this.rateValue = rate;
  }

  /**
   * Updates all parameters by their gradients.
   *
   * @param scaler the loss scale that the gradients were multiplied by: they are divided by it, and where one of them
   *   isn't finite, the step is left out and the scale lowered; default: none
   * @throws KalmanNormError `INVALID_STATE` where a parameter has no gradient
   */
  step(scaler: LossScaler | null = null): void {
    const parameters = this.slots.map(({ name, weight, buffer, weightDecay }) => {
      check(weight.grad !== null, 'INVALID_STATE', `Sgd: parameter ${name} has no gradient; call backward first`);
      return { weight: weight.handle, gradient: weight.grad.handle, momentum: buffer.handle, weightDecay };
    });
    scaler?.inspect(parameters.map(({ gradient }) => gradient));
    native.sgd({
      parameters,
      learningRate: this.rate.handle,
      momentum: this.momentum,
      lossScale: scaler?.handle ?? null,
    });
    scaler?.update();
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

  /** Frees learning rate and momentum buffers; the parameters are the module's. A second call does nothing. */
  dispose(): void {
    this.rate.dispose();
    for (const { buffer } of this.slots) buffer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkNotNegative(name: string, value: number): void {
  check(
    Number.isFinite(value) && value >= 0,
    'INVALID_ARGUMENT',
    `Sgd: ${name} must be a finite number of at least 0, got ${value}`,
  );
}
