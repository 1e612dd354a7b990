import { type Device, type Precision, scope } from '../../lib/index.js';
import { type Effort, measureWork } from './measure.js';
import type { Row } from './table.js';
import { volume } from './values.js';

/** Something to measure. */
export interface Case {
  /** Words by which it's found, the suite's first. */
  name: string;
  run(context: Context): Promise<readonly Row[]>;
}

/** The cases of an op family or of a topic. */
export type Suite = (options: { smoke: boolean; device: string }) => readonly Case[];

/** What cases run on. */
export class Context {
  private readonly copies = new Map<string, Promise<number>>();

  constructor(
    readonly device: Device,
    readonly options: { device: string; precision: Precision; threads: number; smoke: boolean; time: number },
  ) {}

  /** Bytes of an activation's value in the device's memory. */
  get valueBytes(): number {
    const { precision } = this.options;
    return precision === 'fp16' || precision === 'bf16' ? 2 : 4;
  }

  /** @param samples at least, where nothing is smoke-tested */
  effort(samples: number): Effort {
    const { smoke, time } = this.options;
    return { time, samples: smoke ? 2 : samples };
  }

  /**
   * GB/s of copying a tensor of this shape: what the memory that the tensor fits into gives. Measured once a shape.
   */
  copyRate(shape: readonly number[]): Promise<number> {
    const key = shape.join('x');
    const known = this.copies.get(key);
    if (known) return known;
    const rate = this.measureCopy(shape);
    this.copies.set(key, rate);
    return rate;
  }

  private async measureCopy(shape: readonly number[]): Promise<number> {
    const { device } = this;
    const program = scope(() => {
      const [from, to] = [device.ones(shape), device.zeros(shape)];
      return device.record(() => to.copyFrom(from)).program;
    });
    const { median } = await measureWork(device, (count) => program.run(count), this.effort(10));
    program.dispose();
    return (2 * this.valueBytes * volume(shape)) / median / 1e6;
  }
}
