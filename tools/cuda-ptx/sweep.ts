import {
  adaptiveKalmanNorm,
  add,
  addWithMoments,
  avgPool2d,
  Belief,
  backward,
  batchNorm,
  conv2d,
  crossEntropy,
  type Device,
  DeviceRandom,
  type Format,
  filterRows,
  gather,
  globalAvgPool,
  groupNorm,
  HostRandom,
  type KalmanNormOptions,
  kalmanNorm,
  kalmanResidual,
  LossScaler,
  linear,
  moments,
  normalize,
  padBelief,
  padChannels,
  relu,
  reshape,
  Sgd,
  samplePrior,
  samples,
  scale,
  scope,
  sigmoid,
  square,
  type Tensor,
  updateRunning,
} from '../../lib/index.js';
import { predict, propagate, rectifyBelief } from '../../lib/kalman/index.js';

/** Images with so many rows that several blocks share a statistic. */
const HEIGHT = 17;
const WIDTH = 15;
/** Height and width of images of which a single one has several blocks. */
const LARGE = 25;
const SPLITS = 2;

/** Makes inputs on a device. */
class Inputs {
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

/** Every kernel that a device of this precision can launch. */
export async function sweep(device: Device): Promise<void> {
  const inputs = new Inputs(device);
  // Channels that fill accesses of 16 bytes, and an odd number that goes value by value.
  for (const channels of [40, 13]) {
    for (const part of [elementwise, pools, normalizations, kalman, adaptiveKalman, transitions, convolutions]) {
      scope(() => part(inputs, channels));
      await device.synchronize();
    }
  }
  for (const part of [unaligned, large, batches, memory, training]) {
    scope(() => part(inputs));
    await device.synchronize();
  }
  inputs.random.dispose();
}

function elementwise(inputs: Inputs, channels: number): void {
  const x = inputs.tensor([3, channels, 5, 3]);
  inputs.differentiate(relu(add(x, scale(x, 0.5))), sigmoid(x), square(x));
  inputs.differentiate(reshape(x, [3, channels * 15]));
}

function pools(inputs: Inputs, channels: number): void {
  const x = inputs.tensor([2, channels, 7, 5]);
  inputs.differentiate(
    avgPool2d(x, 2),
    avgPool2d(x, 5),
    globalAvgPool(x),
    padChannels(x, channels, channels),
    padChannels(x, 1, 2),
  );
  for (const padding of ['aligned', 'reference'] as const) {
    const { mean, variance } = padBelief(inputs.belief(channels), channels, channels, padding);
    inputs.differentiate(mean, variance);
  }
}

function normalizations(inputs: Inputs, channels: number): void {
  const shape = [4, channels, HEIGHT, WIDTH] as const;
  const x = inputs.tensor(shape);
  const affine = inputs.affine(channels);
  const none = { gamma: null, beta: null };
  const { mean, variance } = moments(x, SPLITS);
  inputs.differentiate(mean, variance);
  const running = { mean: inputs.tensor([channels]), variance: inputs.positive(channels) };
  for (const allSplits of [true, false]) {
    updateRunning(running, { mean, variance }, { splits: SPLITS, momentum: 0.1, correction: 1.1, allSplits });
  }
  // Not a leaf, so that a gradient from elsewhere is added in the same launch.
  const inner = scale(x, 2);
  inputs.differentiate(batchNorm(inner, affine, { splits: SPLITS, relu: true }).output, relu(inner));
  inputs.differentiate(batchNorm(addWithMoments(x, inputs.tensor(shape), SPLITS), none, { splits: SPLITS }).output);
  for (const rectify of [true, false]) {
    const options = { relu: rectify };
    inputs.differentiate(batchNorm(x, affine, { ...options, engine: 'cudnn' }).output);
    inputs.differentiate(normalize(x, running, rectify ? affine : none, options));
  }
  inputs.differentiate(groupNorm(x, channels === 40 ? 4 : 1, affine, { relu: true }));
  inputs.differentiate(groupNorm(x, channels, none));
}

/** A step of the filter and its gradient, which that of what else depends on x is added to. */
function filter(
  inputs: Inputs,
  x: Tensor,
  prior: Belief | 'carried' | null,
  affine: { gamma: Tensor | null; beta: Tensor | null },
  options: KalmanNormOptions,
  ...elsewhere: Tensor[]
): void {
  const { output, posterior } = kalmanNorm(x, prior, affine, { splits: SPLITS, ...options });
  // Without a prior, the posterior carries no gradient.
  const beliefs = prior === null ? [] : [posterior.mean, posterior.variance];
  inputs.differentiate(output, ...beliefs, ...elsewhere);
}

function kalman(inputs: Inputs, channels: number): void {
  const real = inputs.tensor([4, channels, HEIGHT, WIDTH]);
  const inner = scale(real, 2);
  const carried = inputs.tensor([4 + SPLITS, channels, HEIGHT, WIDTH]);
  const sample = inputs.random;
  const options = { gain: 0.1, relu: true };
  const learned = sigmoid(inputs.tensor([channels]));
  const affine = inputs.affine(channels);
  const none = { gamma: null, beta: null };
  filter(inputs, real, null, affine, { ...options, sample });
  filter(inputs, inner, inputs.belief(channels), affine, { ...options, gain: learned, sample }, relu(inner));
  filter(inputs, carried, 'carried', affine, { ...options, sample: inputs.tensor([SPLITS, channels, HEIGHT, WIDTH]) });
  filter(inputs, carried, 'carried', none, { ...options, relu: false });
  // A prior that the guard drops.
  filter(inputs, real, inputs.belief(channels), none, { ...options, guard: 1e-6 });
  const sum = kalmanResidual(inputs.tensor(real.shape), inputs.belief(channels), carried);
  inputs.differentiate(sum.output, sum.prior.mean, sum.prior.variance);
}

/** Steps of the adaptive filter: the first and a later one, with and without a prior, with a fixed gain. */
function adaptiveKalman(inputs: Inputs, channels: number): void {
  const { device } = inputs;
  const x = scale(inputs.tensor([4, channels, HEIGHT, WIDTH]), 2);
  const sums = addWithMoments(x, inputs.tensor([4, channels, HEIGHT, WIDTH]), SPLITS);
  const affine = inputs.affine(channels);
  const filter = device.zeros([filterRows.length, channels]);
  const state = { filter, running: { mean: inputs.tensor([channels]), variance: inputs.positive(channels) } };
  const believed = () => new Belief(inputs.tensor([channels]), inputs.positive(channels), 1);
  for (const [images, prior, options] of [
    [x, believed(), { splits: SPLITS, relu: true }],
    [x, believed(), { splits: SPLITS }],
    [sums, believed(), { splits: SPLITS, relu: true }],
    [x, null, { splits: 1 }],
    [x, believed(), { splits: 1, gain: 0.2, relu: true }],
  ] as const) {
    const { output, belief } = adaptiveKalmanNorm(images, prior, affine, state, options);
    inputs.differentiate(output, ...(prior ? [belief.mean, belief.variance] : []), relu(x));
  }
}

function transitions(inputs: Inputs, channels: number): void {
  const size = { height: LARGE, width: LARGE };
  const noise = inputs.tensor([SPLITS, channels, LARGE, LARGE]);
  for (const source of [inputs.random, noise]) {
    inputs.differentiate(samplePrior(inputs.belief(channels), size, source));
  }
  for (const [taps, options] of [
    [3, { padding: 'same', stride: 2 }],
    [3, { padding: 1 }],
    [5, { padding: 2 }],
  ] as const) {
    const weight = inputs.tensor([5, channels, taps, taps], 'filter');
    const size = { height: 6, width: 5, ...options };
    const { mean, variance } = predict(inputs.belief(channels), weight, size);
    inputs.differentiate(mean, variance);
    for (const rectified of [true, false]) {
      const belief = new Belief(inputs.tensor([channels]), inputs.positive(channels), 1, rectified);
      const whole = propagate(belief, weight, size);
      const moments = rectifyBelief(belief);
      inputs.differentiate(whole.mean, whole.variance, ...(rectified ? [moments.mean, moments.variance] : []));
    }
  }
}

/** What goes around the library's convolutions: images that lie row-major, filters in other types. */
function convolutions(inputs: Inputs, channels: number): void {
  const weight = inputs.tensor([8, channels, 3, 3], 'filter');
  for (const format of ['plain', 'activation'] as const) {
    inputs.differentiate(conv2d(inputs.tensor([2, channels, 6, 5], format), weight, { padding: 'same' }));
  }
}

/** Samples that don't begin at a multiple of 16 bytes. */
function unaligned(inputs: Inputs): void {
  const part = () => samples(inputs.tensor([3, 5, 3, 3]), 1, 2);
  const whole = inputs.tensor([2, 5, 3, 3]);
  for (const output of [add(part(), part()), scale(part(), 3), relu(part()), sigmoid(part())]) {
    inputs.differentiate(output);
  }
  for (const output of [scale(whole, 3), relu(whole), sigmoid(whole)]) backward(output, part().detach());
}

/** More channels than the threads of a block take at a time, and more rows. */
function large(inputs: Inputs): void {
  const channels = 1288;
  const x = inputs.tensor([2, channels, 2, 1]);
  inputs.differentiate(batchNorm(x, inputs.affine(channels), { relu: true }).output, globalAvgPool(x));
  const { mean, variance } = moments(x);
  inputs.differentiate(mean, variance);
  filter(inputs, x, inputs.belief(channels), inputs.affine(channels), { gain: 0.2 });
  filter(inputs, inputs.tensor([4, 13, LARGE, LARGE]), 'carried', inputs.affine(13), { gain: 0.2 });
}

/** Numbers of images that don't exist among the indices. */
function batches({ device, random }: Inputs): void {
  const bytes = (count: number) => Uint8Array.from({ length: count }, (_, i) => (i * 37) % 256);
  const source = {
    images: device.tensor(bytes(5 * 3 * 42), [5, 3, 6, 7]),
    labels: device.tensor(bytes(5)),
    mean: device.full([3, 6, 7], 100, { format: 'plain' }),
    indices: device.tensor(Int32Array.of(0, 1, 4, 5, -1, 2)),
    cursor: device.tensor(Int32Array.of(1)),
  };
  gather(source, { batchSize: 3 });
  gather(source, { batchSize: 3, augment: { pad: 2, random } });
}

function memory({ device }: Inputs): void {
  for (const count of [3, 40, 5000]) {
    device.full([count], 7, { dtype: 'uint8' });
    device.full([count], -2, { dtype: 'int32' });
    device.full([1, count, 1, 1], 0.7);
  }
}

/** A classifier's loss with labels that aren't classes, and a gradient that overflows under a loss scale. */
function training(inputs: Inputs): void {
  const { device } = inputs;
  const logits = linear(inputs.tensor([70, 12]), inputs.tensor([12, 37]), inputs.tensor([37]));
  const labels = Int32Array.from({ length: 70 }, (_, i) => ((i * 7) % 40) - 1);
  inputs.differentiate(crossEntropy(logits, device.tensor(labels)).loss);

  const weights = ['w', 'v'].map((name, i) => [name, inputs.tensor([9, 500 + i])] as const);
  const optimizer = new Sgd(device, new Map(weights), 0.1, { weightDecay: 1e-3 });
  const scaler = new LossScaler(device, { growthInterval: 1 });
  for (const factor of [1, Number.POSITIVE_INFINITY]) {
    for (const [, weight] of weights) {
      weight.zeroGrad();
      backward(scale(weight, 1), device.full(weight.shape, factor));
    }
    optimizer.step(scaler);
  }
  scaler.dispose();
  optimizer.dispose();
}
