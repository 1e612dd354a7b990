import { Belief, backward, type Device, DeviceRandom, type Format, HostRandom, type Tensor } from '../../lib/index.js';

/** The launches of one family of operations; a file of the family's name in sweep/ has them as its default export. */
export interface Family {
  /** Run with channels that fill accesses of 16 bytes, and with an odd number that goes value by value. */
  everyWidth?(inputs: Inputs, channels: number): void;
  once?(inputs: Inputs): void;
}

/** Images with so many rows that several blocks share a statistic. */
export const HEIGHT = 17;
export const WIDTH = 15;
/** Height and width of images of which a single one has several blocks. */
export const LARGE = 25;
export const SPLITS = 2;
/** More channels than the threads of a block take at a time, and more rows. */
export const MANY_CHANNELS = 1288;

/** Makes inputs on a device. */
export class Inputs {
  private readonly host = new HostRandom(11);
  readonly random: DeviceRandom;

  constructor(readonly device: Device) {
    this.random = new DeviceRandom(device, 7);
  }

  /** Normal values. */
  tensor(shape: readonly number[], format?: Format): Tensor {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: count }, () => this.host.normal());
    return this.device.tensor(values, shape, { requiresGrad: true, ...(format && { format }) });
  }

  /** Positive values, as of variances and factors. */
  positive(count: number): Tensor {
    const values = Float32Array.from({ length: count }, () => 0.2 + this.host.uniform());
    return this.device.tensor(values, [count], { requiresGrad: true });
  }

  belief(channels: number): Belief {
    return new Belief(this.tensor([SPLITS * channels]), this.positive(SPLITS * channels), SPLITS);
  }

  affine(channels: number): { gamma: Tensor; beta: Tensor } {
    return { gamma: this.positive(channels), beta: this.tensor([channels]) };
  }

  /** Backward from all of these. */
  differentiate(...outputs: Tensor[]): void {
    backward(
      outputs,
      outputs.map(({ shape, format }) => this.tensor(shape, format)),
    );
  }
}
