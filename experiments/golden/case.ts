import { type Device, scope, type Tensor } from '../../lib/index.js';
import { type Comparison, compare, largest, type Tolerance, withoutUnfoundedFlips } from './compare.js';
import type { Fields, Recording } from './files.js';
import { toNchw, toNhwc, toOihw, toSamples, type Values } from './layout.js';

/** The outcome of a case. */
export interface CaseResult {
  /** FILE/CASE, or FILE for a whole file. */
  readonly id: string;
  readonly comparisons: readonly Comparison[];
  /** What failed besides comparisons. */
  readonly faults: readonly string[];
}

/** Whether a case passed: compared something, all within tolerance, and met no fault. */
export function passed({ comparisons, faults }: CaseResult): boolean {
  return faults.length === 0 && comparisons.length > 0 && comparisons.every((comparison) => comparison.passed);
}

/** A case while it runs: uploads recorded inputs, and compares results with recorded outputs. */
export class Case {
  readonly comparisons: Comparison[] = [];
  readonly faults: string[] = [];

  /**
   * @param fields the case's settings
   * @param zeroGradients names of gradients whose true value is zero, so that what was recorded is rounding
   */
  constructor(
    readonly device: Device,
    readonly fields: Fields,
    readonly recording: Recording,
    private readonly tolerance: (name: string) => Tolerance,
    private readonly zeroGradients: readonly string[] = [],
  ) {}

  /** Layout of the case's activations. */
  get isNchw(): boolean {
    return this.fields.value('layout') === 'NCHW';
  }

  /** A recorded activation, [N, C, H, W] or [N, C]. */
  activation(name: string, requiresGrad = false): Tensor {
    const values = this.recording.take(name);
    const { shape, data } = this.isNchw ? values : toNchw(values);
    return this.device.tensor(data, shape, { requiresGrad });
  }

  /** A recorded vector. */
  vector(name: string, requiresGrad = false): Tensor {
    return this.device.tensor(this.recording.take(name).data, undefined, { requiresGrad });
  }

  /** A recorded filter. */
  filter(name: string, requiresGrad = false): Tensor {
    const { shape, data } = toOihw(this.recording.take(name));
    return this.device.tensor(data, shape, { format: 'filter', requiresGrad });
  }

  /** Recorded noise, [S, C, H, W]. */
  noise(name: string, splits: number): Tensor {
    const { shape, data } = toSamples(this.recording.take(name), splits);
    return this.device.tensor(data, shape);
  }

  /** Compares values in the layout of the recorded tensor. */
  compare(name: string, actual: Values): void {
    const reference = this.recording.take(name);
    // TensorFlow keeps some vectors and scalars with extra dimensions of size 1.
    const core = (shape: readonly number[]) => shape.filter((size) => size !== 1).join(', ');
    if (core(actual.shape) !== core(reference.shape)) {
      this.faults.push(`${name}: expected shape [${reference.shape}], got [${actual.shape}]`);
      return;
    }
    this.comparisons.push(compare(name, actual, reference, this.toleranceOf(name)));
  }

  /** As {@link Case.compare}, for an activation [N, C, H, W] or [N, C]. */
  compareActivation(name: string, actual: Values): void {
    this.compare(name, this.isNchw ? actual : toNhwc(actual));
  }

  /**
   * Rounding of terms that cancel is relative to the terms, not to the rest: so gradients whose true value is zero are
   * compared by the absolute tolerance, at the scale of the case's other gradients.
   */
  private toleranceOf(name: string): Tolerance {
    const tolerance = this.tolerance(name);
    const isGradient = (other: string) => other.startsWith('grad');
    const isZero = (other: string) =>
      this.zeroGradients.some((zero) => other === zero || (isGradient(other) && other.endsWith(`/${zero}`)));
    if (!isZero(name)) return tolerance;
    const others = this.recording.peek((other) => isGradient(other) && !isZero(other));
    const scale = Math.max(...others.map(({ data }) => largest(data)), 0);
    const absolute =
      tolerance.metric === 'entry'
        ? tolerance.absolute * Math.max(1, scale)
        : tolerance.relative * Math.max(1e-6, scale);
    return { metric: 'entry', absolute, relative: 0 };
  }

  /** Fails for everything recorded that nothing was compared with or made from. */
  finish(id: string): CaseResult {
    const unused = this.recording.unused();
    if (unused.length > 0) this.faults.push(`recorded, but not compared: ${unused.join(', ')}`);
    else if (this.comparisons.length === 0) this.faults.push('nothing was compared');
    return { id, comparisons: withoutUnfoundedFlips(this.comparisons), faults: this.faults };
  }
}

/** The gradient that `backward` brought to a leaf; zeros where none flowed. For use within {@link evaluate}. */
export function gradient(leaf: Tensor): Tensor {
  return leaf.grad?.detach() ?? leaf.device.zeros(leaf.shape, { format: leaf.format });
}

/** Runs `body` in a scope and reads the tensors that it returns. */
export async function evaluate<T extends Record<string, Tensor>>(body: () => T): Promise<{ [K in keyof T]: Values }> {
  const tensors = Object.entries(scope(body));
  const values = await Promise.all(
    tensors.map(async ([name, tensor]) => [name, { shape: tensor.shape, data: await tensor.data() }] as const),
  );
  for (const [, tensor] of tensors) tensor.dispose();
  return Object.fromEntries(values) as { [K in keyof T]: Values };
}
