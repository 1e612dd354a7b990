import { check } from '../errors.js';
import type { OptionNames } from '../options.js';
import { noScope } from '../scope.js';
import { checkNotRecording, checkState, readState, type StateValues, writeState } from '../state.js';
import type { Device, Tensor } from '../tensor.js';
import type { LossScaler } from './loss-scaler.js';
import { type NamedParameter, type ParameterGroup, type ParameterList, parameterGroups } from './parameter-list.js';

/** Options of every {@link Optimizer}. */
export interface OptimizerOptions {
  /** How strongly weights are pulled to 0; each optimizer says how. Default 0. */
  weightDecay?: number;
  /** Which parameters decay, by name; default those of rank 2 and 4: matrices and filters, no vectors. */
  decays?: (name: string, parameter: Tensor) => boolean;
}

/** @internal */
export const optimizerNames: OptionNames<OptimizerOptions> = { weightDecay: true, decays: true };

/** A parameter with what its optimizer keeps for it. */
export interface OptimizedParameter extends NamedParameter {
  /** By their names in {@link OptimizerMemory.buffers}, of the parameter's shape. */
  readonly buffers: Readonly<Record<string, Tensor>>;
  readonly weightDecay: number;
  /** Its learning rate is the optimizer's times this. */
  readonly rateFactor: number;
}

/** What an optimizer remembers from step to step, by name. All of it starts at 0. */
export interface OptimizerMemory {
  /** For each parameter, of its shape. */
  readonly buffers: readonly string[];
  /** For all of them together, int32 [1]. */
  readonly counters?: readonly string[];
}

/**
 * Base of all optimizers: parameters in groups, a learning rate, and a state that training goes on from. The learning rate
 * and all that an optimizer remembers lie in device memory, so that a recorded step uses what they are at each replay.
 *
 * A class of its own says what it remembers, and how parameters are {@link Optimizer.update}d.
 *
 * @example
 * const optimizer: Optimizer = new AdamW(device, [
 *   { parameters: body.namedParameters() },
 *   { parameters: head.namedParameters(), learningRate: 1e-2, weightDecay: 0 },
 * ], 1e-3);
 */
export abstract class Optimizer {
  /** Of parameters whose group has no other. */
  readonly weightDecay: number;
  /** All parameters, group by group, each once. */
  protected readonly slots: readonly OptimizedParameter[];
  /** By their names in {@link OptimizerMemory.counters}. */
  protected readonly counters: Readonly<Record<string, Tensor>>;
  private readonly rate: Tensor;
  private rateValue: number;

  /**
   * @param parameters by name, or in an array, where their positions are their names; or in groups. One that comes several
   *   times is trained once.
   * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters or groups, none, a parameter in two groups, or
   *   hyper-parameters outside their domain; `DEVICE_MISMATCH`, `DTYPE_MISMATCH` for parameters on another device, or not
   *   of float32; `INVALID_STATE` within {@link Device.record}
   */
  constructor(
    device: Device,
    parameters: ParameterList | readonly ParameterGroup[],
    learningRate: number,
    { weightDecay = 0, decays = (_, parameter) => parameter.shape.length > 1 }: OptimizerOptions,
    memory: OptimizerMemory,
  ) {
    const groups = parameterGroups(this.constructor.name, device, parameters);
    this.checkNotNegative('weightDecay', weightDecay);
    this.checkNotNegative('learningRate', learningRate);
    for (const group of groups) {
      if (group.weightDecay !== undefined) this.checkNotNegative("a group's weightDecay", group.weightDecay);
      if (group.learningRate === undefined) continue;
      this.checkNotNegative("a group's learningRate", group.learningRate);
      check(
        learningRate > 0,
        'INVALID_ARGUMENT',
        `${this.constructor.name}: learningRate must be positive where a group has its own, got ${learningRate}`,
      );
    }
    check(
      groups.some((group) => group.parameters.length > 0),
      'INVALID_ARGUMENT',
      `${this.constructor.name}: expected parameters, got none; a model doesn't find those of private #fields`,
    );
    checkNotRecording(`${this.constructor.name}: can't be made`, device);
    const zeros = (names: readonly string[], make: () => Tensor) =>
      Object.fromEntries(names.map((name) => [name, noScope(make)]));
    this.weightDecay = weightDecay;
    this.rateValue = learningRate;
    this.rate = noScope(() => device.tensor([learningRate]));
    this.counters = zeros(memory.counters ?? [], () => device.zeros([1], { dtype: 'int32' }));
    this.slots = groups.flatMap((group) =>
      group.parameters.map((parameter) => {
        const { names, weight } = parameter;
        const decay = names.some((name) => decays(name, weight)) ? weightDecay : 0;
        return {
          ...parameter,
          buffers: zeros(memory.buffers, () => device.zeros(weight.shape, { format: weight.format })),
          weightDecay: group.weightDecay ?? decay,
          rateFactor: group.learningRate === undefined ? 1 : group.learningRate / learningRate,
        };
      }),
    );
  }

  /** The learning rate; setting it moves those of groups in proportion. */
  get learningRate(): number {
    return this.rateValue;
  }

  set learningRate(value: number) {
    this.checkNotNegative('learningRate', value);
    if (value === this.rateValue) return;
    this.rate.write(Float32Array.of(value));
    this.rateValue = value;
  }

  /** What it trains, each once. */
  parameters(): Tensor[] {
    return this.slots.map(({ weight }) => weight);
  }

  /** Forgets the gradients of all parameters. */
  zeroGrad(): void {
    for (const { weight } of this.slots) weight.zeroGrad();
  }

  /**
   * What training goes on from, by name: `learningRate` [1], counters [1], and `BUFFER.NAME` of each parameter's shape.
   */
  stateDict(): Map<string, Tensor> {
    const names = Object.keys(this.slots[0]?.buffers ?? {});
    const buffers = names.flatMap((buffer) =>
      [...this.buffersOf(buffer)].map(([name, tensor]) => [`${buffer}.${name}`, tensor] as const),
    );
    return new Map([['learningRate', this.rate], ...Object.entries(this.counters), ...buffers]);
  }

  /** The values of {@link Optimizer.stateDict}, read from the device. */
  stateValues(): Promise<StateValues> {
    return readState(this.stateDict());
  }

  /**
   * Refuses what {@link Optimizer.loadStateDict} would refuse, and loads nothing.
   *
   * @throws KalmanNormError as {@link Optimizer.loadStateDict}
   */
  checkStateDict(state: StateValues): void {
    checkState(this.stateDict(), state, 'optimizer');
    for (const name of ['learningRate', ...Object.keys(this.counters)]) {
      this.checkNotNegative(name, state.get(name)?.data[0] ?? 0);
    }
  }

  /**
   * Overwrites the learning rate, counters and buffers. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; `INVALID_ARGUMENT` for a
   *   learning rate or counter below 0; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    this.checkStateDict(state);
    writeState(this.stateDict(), state, 'optimizer');
    this.rateValue = state.get('learningRate')?.data[0] ?? 0;
  }

  /**
   * Updates all parameters by their gradients.
   *
   * @param scaler the loss scale that the gradients were multiplied by: they are divided by it, and where one of them
   *   isn't finite, the step is left out and the scale lowered; default: none
   * @throws KalmanNormError `INVALID_STATE` where a parameter has no gradient
   */
  step(scaler: LossScaler | null = null): void {
    const gradients = this.slots.map(({ name, weight }) => {
      check(
        weight.grad !== null,
        'INVALID_STATE',
        `${this.constructor.name}: parameter ${name} has no gradient; call backward first`,
      );
      return weight.grad;
    });
    scaler?.inspect(gradients.map(({ handle }) => handle));
    this.update(gradients, this.rate, scaler);
    scaler?.update();
  }

  /**
   * Moves the parameters. It must not read values from the device, so that it can be recorded.
   *
   * @param gradients of {@link Optimizer.slots}, in their order
   * @param learningRate [1]
   * @param scaler as of {@link Optimizer.step}, which has noted whether all gradients are finite
   */
  protected abstract update(gradients: readonly Tensor[], learningRate: Tensor, scaler: LossScaler | null): void;

  /** One buffer of every parameter, by all names of the parameters. */
  protected buffersOf(buffer: string): Map<string, Tensor> {
    return new Map(
      this.slots.flatMap(({ names, buffers }) => names.map((name) => [name, buffers[buffer] as Tensor] as const)),
    );
  }

  /** Frees learning rate and buffers; the parameters are the module's. A second call does nothing. */
  dispose(): void {
    this.rate.dispose();
    for (const counter of Object.values(this.counters)) counter.dispose();
    for (const { buffers } of this.slots) for (const buffer of Object.values(buffers)) buffer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private checkNotNegative(name: string, value: number): void {
    check(
      Number.isFinite(value) && value >= 0,
      'INVALID_ARGUMENT',
      `${this.constructor.name}: ${name} must be a finite number of at least 0, got ${value}`,
    );
  }
}

/** What the kernels of all optimizers take of a parameter. @internal */
export function operands({ weight, weightDecay, rateFactor }: OptimizedParameter, gradient: Tensor) {
  return { weight: weight.handle, gradient: gradient.handle, weightDecay, rateFactor };
}
