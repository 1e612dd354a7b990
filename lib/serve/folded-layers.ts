import { Layer } from '../nn/module.js';
import { Temporaries } from '../nn/temporaries.js';
import { add } from '../ops/broadcast.js';
import { type Conv2dOptions, conv2d } from '../ops/conv2d.js';
import { relu } from '../ops/elementwise.js';
import { addWithMoments } from '../ops/moments.js';
import { padChannels } from '../ops/pad.js';
import type { Device, Tensor } from '../tensor.js';

/** What a convolution is made of on this side of the device. */
export interface FilterValues {
  /** [out, in / groups, height, width] */
  readonly shape: readonly number[];
  readonly weight: Float32Array;
  /** [out] */
  readonly bias: Float32Array | null;
}

/** A convolution that has taken up the normalization and the ReLU behind it; in inference only. */
export class FoldedConv2d extends Layer {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(
    device: Device,
    { shape, weight, bias }: FilterValues,
    private readonly options: Conv2dOptions,
    readonly relu: boolean,
  ) {
    super();
    this.weight = this.buffer(() => device.tensor(weight, shape, { format: 'filter' }));
    this.bias = bias && this.buffer(() => device.tensor(bias));
  }

  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.options, { bias: this.bias, relu: this.relu });
  }
}

/** A residual sum whose body ends in a convolution, with the ReLU behind it; in inference only. */
export class FoldedResidual extends Layer {
  /**
   * @param start of the body, before the convolution; null where it has nothing else
   * @param shortcut null for the samples as they are
   */
  constructor(
    private readonly start: Layer | null,
    private readonly last: FoldedConv2d,
    private readonly shortcut: Layer | null,
    private readonly relu: boolean,
  ) {
    super();
  }

  override forward(x: Tensor): Tensor {
    const temporaries = new Temporaries();
    try {
      const side = this.shortcut ? temporaries.use(this.shortcut.forward(x)) : x;
      const branch = this.last.forward(this.start ? temporaries.use(this.start.forward(x)) : x);
      const alike = side.shape.every((size, axis) => size === branch.shape[axis]);
      const sum = alike ? addWithMoments(side, branch, 0, { inPlace: true }) : add(side, branch);
      temporaries.use(branch);
      return this.relu ? relu(temporaries.use(sum)) : sum;
    } finally {
      temporaries.dispose();
    }
  }
}

/** Channels of zeros on either side. */
export class PadChannels extends Layer {
  constructor(private readonly each: number) {
    super();
  }

  override forward(x: Tensor): Tensor {
    return padChannels(x, this.each, this.each);
  }
}
