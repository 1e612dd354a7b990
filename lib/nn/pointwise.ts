import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { gelu, leakyRelu, sigmoid, silu, tanh } from '../ops/elementwise.js';
import { logSoftmax, softmax } from '../ops/softmax.js';
import type { Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { throughLeakyRelu } from './transition.js';

/**
 * x above 0, slope·x below; see {@link leakyRelu}. Its transition is exact for a Gaussian.
 *
 * @example
 * const y = new LeakyReLU(0.1).forward(x);
 */
export class LeakyReLU extends Layer {
  static readonly type = 'LeakyReLU';

  /** @param slope below 0; default 0.01 */
  constructor(readonly slope = 0.01) {
    super();
    check(
      Number.isFinite(slope),
      'INVALID_ARGUMENT',
      () => `LeakyReLU: slope must be a finite number, got ${String(slope)}`,
    );
  }

  static plan(spec: SpecReader): ModulePlan {
    const slope = spec.number('slope', -Number.MAX_VALUE, Number.MAX_VALUE, 0.01);
    return { values: 0, build: () => new LeakyReLU(slope) };
  }

  override spec(): ModuleSpec {
    return { type: LeakyReLU.type, slope: this.slope };
  }

  override forward(x: Tensor): Tensor {
    return leakyRelu(x, this.slope);
  }

  protected override transition(belief: Belief): Belief {
    return throughLeakyRelu(belief, this.slope);
  }
}

/** A function of each value without options. What it makes of a belief has no closed form: see {@link Unknown}. */
abstract class Pointwise extends Layer {
  override spec(): ModuleSpec {
    return { type: (this.constructor as unknown as { type: string }).type };
  }
}

/**
 * x·Φ(x); see {@link gelu}. Of its output nothing is believed: wrap it into {@link Unknown} in a Kalman network.
 *
 * @example
 * const net = new Sequential(new Linear(device, 64, 64), new GELU());
 */
export class GELU extends Pointwise {
  static readonly type = 'GELU';

  static plan(): ModulePlan {
    return { values: 0, build: () => new GELU() };
  }

  override forward(x: Tensor): Tensor {
    return gelu(x);
  }
}

/**
 * x·sigmoid(x); see {@link silu}. Of its output nothing is believed: wrap it into {@link Unknown} in a Kalman network.
 *
 * @example
 * const net = new Sequential(new Linear(device, 64, 64), new SiLU());
 */
export class SiLU extends Pointwise {
  static readonly type = 'SiLU';

  static plan(): ModulePlan {
    return { values: 0, build: () => new SiLU() };
  }

  override forward(x: Tensor): Tensor {
    return silu(x);
  }
}

/**
 * 1 / (1 + exp(-x)). Of its output nothing is believed: wrap it into {@link Unknown} in a Kalman network.
 *
 * @example
 * const net = new Sequential(new Linear(device, 64, 1), new Sigmoid());
 */
export class Sigmoid extends Pointwise {
  static readonly type = 'Sigmoid';

  static plan(): ModulePlan {
    return { values: 0, build: () => new Sigmoid() };
  }

  override forward(x: Tensor): Tensor {
    return sigmoid(x);
  }
}

/**
 * The hyperbolic tangent. Of its output nothing is believed: wrap it into {@link Unknown} in a Kalman network.
 *
 * @example
 * const net = new Sequential(new Linear(device, 64, 64), new Tanh());
 */
export class Tanh extends Pointwise {
  static readonly type = 'Tanh';

  static plan(): ModulePlan {
    return { values: 0, build: () => new Tanh() };
  }

  override forward(x: Tensor): Tensor {
    return tanh(x);
  }
}

/**
 * exp(x) divided by the sum of all classes; see {@link softmax}. For the output of a network in use: the losses take
 * logits. Of its output nothing is believed.
 *
 * @example
 * const probabilities = new Softmax().forward(logits); // [N, classes]
 */
export class Softmax extends Layer {
  static readonly type = 'Softmax';

  /** @param axis of the classes; negative ones count from the end, default 1 */
  constructor(readonly axis = 1) {
    super();
    checkAxis(Softmax.type, axis);
  }

  static plan(spec: SpecReader): ModulePlan {
    const axis = axisOption(spec);
    return { values: 0, build: () => new Softmax(axis) };
  }

  override spec(): ModuleSpec {
    return { type: Softmax.type, axis: this.axis };
  }

  override forward(x: Tensor): Tensor {
    return softmax(x, this.axis);
  }
}

/**
 * The logarithm of {@link Softmax}. Of its output nothing is believed.
 *
 * @example
 * const logs = new LogSoftmax().forward(logits); // [N, classes]
 */
export class LogSoftmax extends Layer {
  static readonly type = 'LogSoftmax';

  /** @param axis of the classes; negative ones count from the end, default 1 */
  constructor(readonly axis = 1) {
    super();
    checkAxis(LogSoftmax.type, axis);
  }

  static plan(spec: SpecReader): ModulePlan {
    const axis = axisOption(spec);
    return { values: 0, build: () => new LogSoftmax(axis) };
  }

  override spec(): ModuleSpec {
    return { type: LogSoftmax.type, axis: this.axis };
  }

  override forward(x: Tensor): Tensor {
    return logSoftmax(x, this.axis);
  }
}

const isAxis = (value: unknown) => Number.isInteger(value) && Math.abs(value as number) <= 5;

function checkAxis(name: string, axis: number): void {
  check(isAxis(axis), 'INVALID_ARGUMENT', () => `${name}: axis must be a whole number, got ${String(axis)}`);
}

function axisOption(spec: SpecReader): number {
  return spec.value('axis', isAxis, 'a whole number from -5 to 5', 1);
}

for (const type of [LeakyReLU, GELU, SiLU, Sigmoid, Tanh, Softmax, LogSoftmax]) registerModule(type);
