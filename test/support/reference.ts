import { type NdArray, ndarray, sizes, sum, zip } from './array.js';

/**
 * Float64 references of the operations, written from their definitions: plain loops over [N, C, H, W], no code of the
 * library.
 */

/** How near any ReLU of a reference came to its kink, where float32 and finite differences may see the other side. */
export const kink = { nearest: Number.POSITIVE_INFINITY };

function rectify(value: number): number {
  return threshold(value, 0);
}

/** The larger of both. */
export function threshold(value: number, least: number): number {
  kink.nearest = Math.min(kink.nearest, Math.abs(value - least));
  return value > least || Number.isNaN(value) ? value : least;
}

export function relu(x: NdArray): NdArray {
  return { shape: x.shape, data: x.data.map(rectify) };
}

export function add(a: NdArray, b: NdArray): NdArray {
  return zip(a, b, (x, y) => x + y);
}

export type Sides = readonly [top: number, left: number, bottom: number, right: number];

/** Padding by TensorFlow's SAME rule: output ceil(size / stride), the odd one of the total goes behind. */
export function samePadding(height: number, width: number, kernel: number, stride: number): Sides {
  const total = (size: number) => Math.max((Math.ceil(size / stride) - 1) * stride + kernel - size, 0);
  const [h, w] = [total(height), total(width)];
  const [top, left] = [Math.floor(h / 2), Math.floor(w / 2)];
  return [top, left, h - top, w - left];
}

/** Cross-correlation of [N, I, H, W] with [O, I / groups, kh, kw]. */
export function conv2d(
  x: NdArray,
  weight: NdArray,
  [strideH, strideW]: readonly [number, number],
  sides: Sides,
  { dilation: [stepH, stepW] = [1, 1], groups = 1 }: { dilation?: readonly [number, number]; groups?: number } = {},
) {
  const [n, channels, h, w] = sizes(x);
  const [outer, inner, kh, kw] = sizes(weight);
  const spanH = (kh - 1) * stepH + 1;
  const spanW = (kw - 1) * stepW + 1;
  const [top, left, bottom, right] = sides;
  const height = Math.floor((h + top + bottom - spanH) / strideH) + 1;
  const width = Math.floor((w + left + right - spanW) / strideW) + 1;
  const y = ndarray([n, outer, height, width]);
  let at = 0;
  for (let s = 0; s < n; s++) {
    for (let o = 0; o < outer; o++) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          let total = 0;
          for (let ky = 0; ky < kh; ky++) {
            const iy = row * strideH + ky * stepH - top;
            if (iy < 0 || iy >= h) continue;
            for (let kx = 0; kx < kw; kx++) {
              const ix = column * strideW + kx * stepW - left;
              if (ix < 0 || ix >= w) continue;
              for (let i = 0; i < inner; i++) {
                const c = Math.floor((o * groups) / outer) * inner + i;
                total +=
                  x.data[((s * channels + c) * h + iy) * w + ix]! * weight.data[((o * inner + i) * kh + ky) * kw + kx]!;
              }
            }
          }
          y.data[at++] = total;
        }
      }
    }
  }
  return y;
}

/** x·W + b of [N, I] and [I, O]. */
export function linear(x: NdArray, weight: NdArray, bias: NdArray | null): NdArray {
  const [n, inner] = sizes(x);
  const outer = weight.shape[1]!;
  const y = ndarray([n, outer]);
  for (let s = 0; s < n; s++) {
    for (let o = 0; o < outer; o++) {
      let total = bias ? bias.data[o]! : 0;
      for (let i = 0; i < inner; i++) total += x.data[s * inner + i]! * weight.data[i * outer + o]!;
      y.data[s * outer + o] = total;
    }
  }
  return y;
}

/** Calls `body` for every value, with sample, channel, row, column and the flat index. */
function each(x: NdArray, body: (n: number, c: number, y: number, x: number, index: number) => void): void {
  const [samples, channels, height, width] = sizes(x);
  let index = 0;
  for (let n = 0; n < samples; n++) {
    for (let c = 0; c < channels; c++) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) body(n, c, row, column, index++);
      }
    }
  }
}

export function avgPool2d(x: NdArray, size: number): NdArray {
  const [n, c, h, w] = sizes(x);
  const y = ndarray([n, c, Math.floor(h / size), Math.floor(w / size)]);
  each(y, (s, channel, row, column, index) => {
    for (let i = 0; i < size * size; i++) {
      const [py, px] = [row * size + Math.floor(i / size), column * size + (i % size)];
      y.data[index]! += x.data[((s * c + channel) * h + py) * w + px]! / (size * size);
    }
  });
  return y;
}

export function globalAvgPool(x: NdArray): NdArray {
  const [n, c, h, w] = sizes(x);
  const y = ndarray([n, c]);
  each(x, (s, channel, _row, _column, index) => {
    y.data[s * c + channel]! += x.data[index]! / (h * w);
  });
  return y;
}

export function padChannels(x: NdArray, before: number, after: number): NdArray {
  const [n, c, h, w] = sizes(x);
  const channels = before + c + after;
  const y = ndarray([n, channels, h, w]);
  each(x, (s, channel, row, column, index) => {
    y.data[((s * channels + before + channel) * h + row) * w + column] = x.data[index]!;
  });
  return y;
}

/** Mean and variance as vectors, split-major. */
export interface Statistics {
  mean: NdArray;
  variance: NdArray;
}

/** Mean and biased variance of each (split, channel), in two passes. */
export function moments(x: NdArray, splits: number): Statistics {
  const [n, c, h, w] = sizes(x);
  const perSplit = n / splits;
  const count = perSplit * h * w;
  const mean = ndarray([splits * c]);
  const variance = ndarray([splits * c]);
  const cell = (s: number, channel: number) => Math.floor(s / perSplit) * c + channel;
  each(x, (s, channel, _row, _column, index) => {
    mean.data[cell(s, channel)]! += x.data[index]! / count;
  });
  each(x, (s, channel, _row, _column, index) => {
    variance.data[cell(s, channel)]! += (x.data[index]! - mean.data[cell(s, channel)]!) ** 2 / count;
  });
  return { mean, variance };
}

export interface Scaling {
  gamma?: NdArray | null;
  beta?: NdArray | null;
  epsilon?: number;
  relu?: boolean;
}

/** (x - mean) / sqrt(variance + epsilon)·gamma + beta, with statistics [S·C] for S splits. */
export function normalize(x: NdArray, statistics: Statistics, options: Scaling = {}): NdArray {
  const { gamma, beta, epsilon = 1e-5 } = options;
  const [n, c] = sizes(x);
  const perSplit = (n * c) / statistics.mean.data.length;
  const y = ndarray(x.shape);
  each(x, (s, channel, _row, _column, index) => {
    const cell = Math.floor(s / perSplit) * c + channel;
    const unit = (x.data[index]! - statistics.mean.data[cell]!) / Math.sqrt(statistics.variance.data[cell]! + epsilon);
    y.data[index] = unit * (gamma?.data[channel] ?? 1) + (beta?.data[channel] ?? 0);
  });
  return options.relu ? relu(y) : y;
}

export function batchNorm(x: NdArray, splits: number, options: Scaling = {}): NdArray {
  return normalize(x, moments(x, splits), options);
}

/** Each sample's groups of channels are one "channel" of a wider image. */
export function groupNorm(x: NdArray, groups: number, options: Scaling = {}): NdArray {
  const [n, c, h, w] = sizes(x);
  const grouped = { shape: [1, n * groups, (c / groups) * h, w], data: x.data };
  const { epsilon = 1e-5, gamma = null, beta = null, relu: rectified = false } = options;
  const unit = { shape: x.shape, data: batchNorm(grouped, 1, { epsilon }).data };
  const none = { mean: ndarray([c]), variance: ndarray([c], new Array(c).fill(1)) };
  return normalize(unit, none, { gamma, beta, epsilon: 0, relu: rectified });
}

/** Mean softmax cross-entropy, and the number of samples whose label isn't the largest logit. */
export function crossEntropy(logits: NdArray, labels: ArrayLike<number>): { loss: number; errors: number } {
  const [n, classes] = sizes(logits);
  let loss = 0;
  let errors = 0;
  for (let s = 0; s < n; s++) {
    const row = logits.data.subarray(s * classes, (s + 1) * classes);
    const largest = row.reduce((a, b) => Math.max(a, b));
    loss += Math.log(sum(row.map((value) => Math.exp(value - largest)))) + largest - row[labels[s]!]!;
    if (row[labels[s]!] !== largest) errors++;
  }
  return { loss: loss / n, errors };
}
