/**
 * Between the layouts of TensorFlow and of this library: activations NHWC and NCHW, filters HWIO and OIHW, noise
 * [1, H, W, S·C] and [S, C, H, W].
 */

/** Row-major values on the host. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Permutes axes: axis i of the result is axis `axes[i]` of the input. */
export function transpose({ shape, data }: Values, axes: readonly number[]): Values {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const sizes = axes.map((axis) => shape[axis] as number);
  const steps = axes.map((axis) => strides[axis] as number);
  const result = new Float32Array(data.length);
  let next = 0;
  const walk = (axis: number, offset: number): void => {
    if (axis === sizes.length) {
      result[next++] = data[offset] as number;
      return;
    }
    for (let i = 0; i < sizes[axis]!; i++) walk(axis + 1, offset + i * steps[axis]!);
  };
  walk(0, 0);
  return { shape: sizes, data: result };
}

/** The same values under another shape. */
export function reshape({ data }: Values, shape: readonly number[]): Values {
  return { shape, data };
}

/** A vector of all values. */
export function flat(values: Values): Values {
  return reshape(values, [values.data.length]);
}

/** NHWC to NCHW; [N, C] stays as it is. */
export function toNchw(values: Values): Values {
  return values.shape.length === 4 ? transpose(values, [0, 3, 1, 2]) : values;
}

/** NCHW to NHWC; [N, C] stays as it is. */
export function toNhwc(values: Values): Values {
  return values.shape.length === 4 ? transpose(values, [0, 2, 3, 1]) : values;
}

/** HWIO to OIHW. */
export function toOihw(values: Values): Values {
  return transpose(values, [3, 2, 0, 1]);
}

/** OIHW to HWIO. */
export function toHwio(values: Values): Values {
  return transpose(values, [2, 3, 1, 0]);
}

/** Noise and virtual samples: [1, H, W, S·C] to [S, C, H, W]. */
export function toSamples(values: Values, splits: number): Values {
  const [, height = 1, width = 1, length = 1] = values.shape;
  return transpose(reshape(values, [height, width, splits, length / splits]), [2, 3, 0, 1]);
}

/** [S, C, H, W] to [1, H, W, S·C]. */
export function fromSamples(values: Values): Values {
  const [splits = 1, channels = 1, height = 1, width = 1] = values.shape;
  return reshape(transpose(values, [2, 3, 0, 1]), [1, height, width, splits * channels]);
}

/** Entry `index` of the first axis. */
export function slice({ shape, data }: Values, index: number): Values {
  const rest = shape.slice(1);
  const size = rest.reduce((product, length) => product * length, 1);
  return { shape: rest, data: data.subarray(index * size, (index + 1) * size) };
}
