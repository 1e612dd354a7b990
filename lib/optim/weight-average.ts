import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { advance } from '../ops/counter.js';
import { checkOptions, type OptionNames } from '../options.js';
import { noScope } from '../scope.js';
import { checkNotRecording, readState, type StateValues, writeState } from '../state.js';
import type { Device, Tensor } from '../tensor.js';
import { type NamedParameter, type ParameterList, parameterGroups } from './parameter-list.js';

declare module '../addon/contract.js' {
  interface Operations {
    average(args: {
      tensors: readonly { average: Handle; value: Handle; scale: number }[];
      updates: Handle;
      decay: number;
      warmUp: boolean;
    }): void;
  }
}

/** Options of {@link WeightAverage}. */
export interface WeightAverageOptions {
  /** Share of the average that an update keeps; at least 0 and below 1, default 0.999. */
  decay?: number;
  /**
   * Update t, counted from 0, keeps only min(decay, (1 + t) / (10 + t)), as TensorFlow's ExponentialMovingAverage with
   * `num_updates`: the first weights are soon forgotten. Default false.
   */
  warmUp?: boolean;
}

const optionNames: OptionNames<WeightAverageOptions> = { decay: true, warmUp: true };

/**
 * Exponential moving average of weights (Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992;
 * in this form Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017):
 *
 *     average = decay·average + (1 - decay)·w
 *
 * It starts with the weights as they are. Averages and the number of updates lie on the device: a recorded step updates
 * them at each replay, in one launch. Evaluate with them by {@link WeightAverage.during}.
 *
 * Running averages of normalizations belong to the weights that they were taken with: give `model.stateDict()`, and they
 * are averaged along.
 *
 * @example
 * const average = new WeightAverage(device, model.stateDict(), { decay: 0.99 });
 * optimizer.step();
 * average.update();
 * const { error } = await average.during(() => trainer.evaluate());
 */
export class WeightAverage {
  readonly decay: number;
  readonly warmUp: boolean;
  private readonly slots: readonly (NamedParameter & { average: Tensor })[];
  private readonly updates: Tensor;
  private exchanged = false;

  /**
   * @param tensors by name, or in an array, where their positions are their names; float32
   * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't tensors, or a decay outside its domain; `DEVICE_MISMATCH`,
   *   `DTYPE_MISMATCH` for tensors on another device, or not of float32; `INVALID_STATE` within {@link Device.record}
   */
  constructor(
    private readonly device: Device,
    tensors: ParameterList,
    options: WeightAverageOptions = {},
  ) {
    checkOptions('WeightAverage', options, optionNames);
    const { decay = 0.999, warmUp = false } = options;
    check(
      decay >= 0 && decay < 1,
      'INVALID_ARGUMENT',
      `WeightAverage: decay must be at least 0 and below 1, got ${decay}`,
    );
    const [group] = parameterGroups('WeightAverage', device, tensors);
    checkNotRecording("WeightAverage: can't be made", device);
    this.decay = decay;
    this.warmUp = warmUp;
    this.updates = noScope(() => device.zeros([1], { dtype: 'int32' }));
    this.slots = (group?.parameters ?? []).map((parameter) => ({ ...parameter, average: this.copy(parameter.weight) }));
  }

  /** Whether the weights are the averages at the moment. */
  get applied(): boolean {
    return this.exchanged;
  }

  /**
   * Takes the weights into the averages; belongs behind the optimizer's step, and can be recorded with it.
   *
   * @throws KalmanNormError `INVALID_STATE` while the averages are applied
   */
  update(): void {
    this.checkApplied('update', false);
    const { decay, warmUp } = this;
    const tensors = this.slots.map(({ average, weight }) => ({
      average: average.handle,
      value: weight.handle,
      scale: 1,
    }));
    native.average({ tensors, updates: this.updates.handle, decay, warmUp });
    advance(this.updates);
  }

  /**
   * Gives the model the averages for weights, until {@link WeightAverage.restore}. They are exchanged where they lie, so
   * that recorded programs see them too.
   *
   * @throws KalmanNormError `INVALID_STATE` where they are applied already, or within {@link Device.record}
   */
  apply(): void {
    this.checkApplied('apply', false);
    checkNotRecording("WeightAverage: apply can't be called", this.device);
    this.exchange();
  }

  /**
   * Gives the model its own weights back.
   *
   * @throws KalmanNormError `INVALID_STATE` where the averages aren't applied, or within {@link Device.record}
   */
  restore(): void {
    this.checkApplied('restore', true);
    checkNotRecording("WeightAverage: restore can't be called", this.device);
    this.exchange();
  }

  /** Runs `body` with the averages for weights, and gives the model its own back, whatever happens. */
  async during<T>(body: () => Promise<T> | T): Promise<T> {
    this.apply();
    try {
      return await body();
    } finally {
      this.restore();
    }
  }

  /**
   * What averaging goes on from, by name: `updates` [1] (int32), and `average.NAME` of each tensor's shape.
   *
   * @throws KalmanNormError `INVALID_STATE` while the averages are applied
   */
  stateDict(): Map<string, Tensor> {
    this.checkApplied('stateDict', false);
    const averages = this.slots.flatMap(({ names, average }) =>
      names.map((name) => [`average.${name}`, average] as const),
    );
    return new Map([['updates', this.updates], ...averages]);
  }

  /** The values of {@link WeightAverage.stateDict}, read from the device. */
  async stateValues(): Promise<StateValues> {
    return readState(this.stateDict());
  }

  /**
   * Overwrites the averages. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; `INVALID_STATE` while the
   *   averages are applied; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    writeState(this.stateDict(), state, 'average');
  }

  /** Frees the averages. A second call does nothing. */
  dispose(): void {
    this.updates.dispose();
    for (const { average } of this.slots) average.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private exchange(): void {
    for (const { weight, average } of this.slots) {
      using own = this.copy(weight);
      weight.copyFrom(average);
      average.copyFrom(own);
    }
    this.exchanged = !this.exchanged;
  }

  private copy(of: Tensor): Tensor {
    const copy = noScope(() => this.device.zeros(of.shape, { format: of.format }));
    copy.copyFrom(of);
    return copy;
  }

  private checkApplied(call: string, wanted: boolean): void {
    check(
      this.exchanged === wanted,
      'INVALID_STATE',
      `WeightAverage: ${call} ${wanted ? 'needs the averages to be applied' : 'while the averages are applied'}; call ${wanted ? 'apply' : 'restore'} first`,
    );
  }
}
