import { noGrad } from '../autograd.js';
import { check } from '../errors.js';
import type { InputSize } from '../io/model-description.js';
import type { Module } from '../nn/module.js';
import type { Program } from '../program.js';
import { noScope, scope } from '../scope.js';
import { valuesOf } from '../shape.js';
import type { Device, Tensor } from '../tensor.js';

/** What maps images to outputs. */
export interface Network {
  forward(x: Tensor): Tensor;
}

export function isNetwork(module: Module): module is Module & Network {
  return typeof (module as Partial<Network>).forward === 'function';
}

interface Recorded {
  readonly program: Program;
  readonly input: Tensor;
  readonly output: Tensor;
}

/** A network's programs, one a batch size; those used last are kept. */
export class Programs {
  private readonly recorded = new Map<number, Recorded>();

  constructor(
    private readonly device: Device,
    private readonly network: Network,
    private readonly input: InputSize,
    private readonly limit: number,
  ) {}

  /** Batch sizes that are recorded, the one used last at the end. */
  get sizes(): number[] {
    return [...this.recorded.keys()];
  }

  /** Number of outputs of a sample. */
  get outputs(): number {
    const [count, ...shape] = this.get(1).output.shape;
    check(
      count === 1,
      'SHAPE_MISMATCH',
      () => `expected one output a sample, got shape [${count}, ${shape.join(', ')}]`,
    );
    return valuesOf(shape);
  }

  /** Enqueues a batch: the copy in, one replay, and the copy out, which is waited for. */
  async run(batch: Float32Array, count: number): Promise<Float32Array> {
    const { program, input, output } = this.get(count);
    input.write(batch);
    program.run();
    return (await output.data()) as Float32Array;
  }

  private get(count: number): Recorded {
    const found = this.recorded.get(count) ?? this.record(count);
    this.recorded.delete(count);
    this.recorded.set(count, found);
    for (const size of this.sizes.slice(0, -this.limit)) this.forget(size);
    return found;
  }

  private record(count: number): Recorded {
    const { channels, height, width } = this.input;
    return noScope(() => {
      const input = this.device.zeros([count, channels, height, width]);
      try {
        // What a GPU does at an operation's first use it may not do while it records.
        scope(() => {
          noGrad(() => this.network.forward(input));
        });
        const { program, result } = this.device.record(() => noGrad(() => this.network.forward(input)));
        return { program, input, output: result };
      } catch (error) {
        input.dispose();
        throw error;
      }
    });
  }

  private forget(count: number): void {
    const { program, input, output } = this.recorded.get(count) as Recorded;
    this.recorded.delete(count);
    for (const part of [output, program, input]) part.dispose();
  }

  dispose(): void {
    for (const size of this.sizes) this.forget(size);
  }
}
