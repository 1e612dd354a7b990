import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KalmanNormError } from './errors.js';

/** Element types of tensors. */
export type DType = 'float32' | 'int32' | 'uint8';
/** What a tensor is for, by which the device chooses its physical layout. */
export type Format = 'plain' | 'activation' | 'filter';

/** A reference to device memory. Several handles may share the memory; it is freed with the last of them. */
export interface Handle {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly format: Format;
  /** How many more samples its memory has room for, behind it. */
  readonly room: number;
  /** Gives this reference up; later use of it throws `DISPOSED`. A second call does nothing. */
  dispose(): void;
  /** Another reference to the same memory. */
  share(): Handle;
  /** Samples [from, from + count), sharing the memory. */
  samples(from: number, count: number): Handle;
}

export interface Program {
  readonly launches: number;
  readonly memory: MemoryStats;
  dispose(): void;
}

/** Memory of a device. */
export interface MemoryStats {
  /** Bytes of live tensors, rounded up to their blocks. */
  inUse: number;
  /** Bytes held from the system: live and pooled. */
  reserved: number;
  /** The largest `inUse` since the last reset. */
  peakInUse: number;
  /** Blocks handed out so far. */
  allocations: number;
  /** Of these, how many the pool couldn't serve. */
  systemAllocations: number;
  /** Blocks in use. */
  live: number;
}

export interface NativeDevice {
  readonly name: string;
  readonly description: string;
  memoryStats(): MemoryStats;
  resetPeakMemory(): void;
  trimMemory(): void;
  /** Resolves when everything enqueued so far has run; rejects when a launch failed. */
  synchronize(): Promise<void>;
  beginRecording(): void;
  endRecording(): Program;
  abandonRecording(): void;
  replay(program: Program, count: number): void;
  setProfiling(on: boolean): void;
  profile(): Record<string, { calls: number; nanoseconds: number }>;
  dispose(): void;
}

/** How a CUDA device stores activations and multiplies them; see {@link DeviceOptions.precision}. */
export type Precision = 'fp32' | 'tf32' | 'fp16' | 'bf16';

export interface CudaOptions {
  index: number;
  memoryLimit: number;
  precision: Precision;
  deterministic: boolean;
  benchmark: boolean;
}

export interface CudaDeviceInfo {
  /** Such as `NVIDIA H200`. */
  name: string;
  /** Compute capability, such as `9.0`. */
  capability: string;
  /** Bytes. */
  memory: number;
}

/** Stride, then padding: [strideH, strideW, top, left, bottom, right]. */
export type ConvShape = readonly [number, number, number, number, number, number];

/** An optional argument. */
export type Maybe = Handle | null;

/** A device generator's state [3] (int32), and the number of the draw within a step. */
export interface RandomSource {
  state: Handle;
  stream: number;
}

export interface KalmanOptions {
  splits: number;
  tail: boolean;
  sample: boolean;
  gain: number;
  guard: number;
  epsilon: number;
  relu: boolean;
}

export interface KalmanInput {
  x: Handle;
  gamma: Maybe;
  beta: Maybe;
  gain: Maybe;
  priorMean: Maybe;
  priorVar: Maybe;
  observationMean: Maybe;
  observationVar: Maybe;
  random: RandomSource | null;
  noise: Maybe;
}

export interface KalmanResult {
  y: Handle;
  priorMean: Maybe;
  priorVar: Maybe;
  observationMean: Handle;
  observationVar: Handle;
  posteriorMean: Handle;
  posteriorVar: Handle;
  ratio: Handle;
}

/**
 * The addon: checked launches of the functions in native/core/functions.h, under the same names. All but `download`
 * return at once; wrong arguments throw a {@link KalmanNormError} before anything is enqueued.
 */
export interface Addon {
  /** Makes the addon throw this class; called once after loading. */
  setErrorClass(errorClass: new (code: never, message: string) => Error): void;
  /** Empty where this machine can run the addon's CPU kernels, else the reason. */
  cpuUnsupported(): string;
  createCpuDevice(options: { threads: number; memoryLimit: number }): NativeDevice;
  /** `library`: path of the CUDA device's shared library. Throws `DEVICE_UNAVAILABLE`, saying what is missing. */
  createCudaDevice(library: string, options: CudaOptions): NativeDevice;
  /** The GPUs that the driver shows; throws as `createCudaDevice`. */
  cudaDevices(library: string): CudaDeviceInfo[];

  upload(
    device: NativeDevice,
    shape: readonly number[],
    format: Format,
    values: Float32Array | Int32Array | Uint8Array,
  ): Handle;
  write(tensor: Handle, values: Float32Array | Int32Array | Uint8Array): void;
  /** Resolves with row-major values when everything enqueued so far has run. */
  download(tensor: Handle): Promise<Float32Array | Int32Array | Uint8Array>;
  full(device: NativeDevice, shape: readonly number[], dtype: DType, format: Format, value: number): Handle;
  /** Uninitialised, with room for `extraSamples` behind the tensor's samples. */
  empty(device: NativeDevice, shape: readonly number[], dtype: DType, format: Format, extraSamples: number): Handle;
  /** The tensor with `extra` more samples, which its memory must have room for. */
  grow(tensor: Handle, extra: number): Handle;
  fill(tensor: Handle, value: number): void;
  copy(from: Handle, to: Handle): void;
  reshape(tensor: Handle, shape: readonly number[], format: Format): Handle;
  advance(counter: Handle, by: number): void;
  append(value: Handle, cursor: Handle, history: Handle): void;

  add(a: Handle, b: Handle): Handle;
  addInto(target: Handle, other: Handle): void;
  scale(x: Handle, factor: number): Handle;
  /** x times a tensor of one value. */
  scaleBy(x: Handle, factor: Handle): Handle;
  relu(x: Handle): Handle;
  reluBackward(y: Handle, dy: Handle): Handle;
  sigmoid(x: Handle): Handle;
  sigmoidBackward(y: Handle, dy: Handle): Handle;

  conv2d(x: Handle, w: Handle, shape: ConvShape): Handle;
  conv2dBackwardData(dy: Handle, w: Handle, x: Handle, shape: ConvShape): Handle;
  conv2dBackwardWeights(x: Handle, dy: Handle, w: Handle, shape: ConvShape): Handle;
  linear(x: Handle, w: Handle, b: Maybe): Handle;
  linearBackward(
    x: Handle,
    w: Handle,
    dy: Handle,
    needDx: boolean,
    bias: boolean,
  ): { dx: Maybe; dw: Handle; db: Maybe };

  avgPool(x: Handle, size: number): Handle;
  avgPoolBackward(dy: Handle, x: Handle, size: number, extraSamples: number): Handle;
  globalAvgPool(x: Handle): Handle;
  globalAvgPoolBackward(dy: Handle, x: Handle, extraSamples: number): Handle;
  padChannels(x: Handle, before: number, after: number): Handle;
  padChannelsBackward(dy: Handle, x: Handle, before: number): Handle;
  padBelief(x: Handle, splits: number, before: number, after: number, aligned: boolean): Handle;
  padBeliefBackward(dy: Handle, x: Handle, splits: number, before: number, after: number, aligned: boolean): Handle;

  moments(x: Handle, splits: number): { mean: Handle; var: Handle };
  momentsBackward(x: Handle, splits: number, mean: Handle, dmean: Handle, dvar: Handle, dx: Maybe): Handle;
  addMoments(a: Handle, b: Handle, splits: number, inPlace: boolean): { out: Handle; mean: Maybe; var: Maybe };
  runningUpdate(
    mean: Handle,
    variance: Handle,
    runningMean: Handle,
    runningVar: Handle,
    splits: number,
    momentum: number,
    correction: number,
    allSplits: boolean,
  ): void;

  batchNorm(
    x: Handle,
    gamma: Maybe,
    beta: Maybe,
    splits: number,
    epsilon: number,
    relu: boolean,
    mean: Maybe,
    variance: Maybe,
  ): { y: Handle; mean: Handle; var: Handle };
  batchNormBackward(
    x: Handle,
    dy: Handle,
    gamma: Maybe,
    beta: Maybe,
    mean: Handle,
    variance: Handle,
    splits: number,
    epsilon: number,
    relu: boolean,
    add: Maybe,
    extraSamples: number,
  ): { dx: Handle; dgamma: Maybe; dbeta: Maybe };
  /** By cuDNN, over the whole batch; throws `INVALID_ARGUMENT` on other devices than CUDA's. */
  dnnBatchNorm(
    x: Handle,
    gamma: Handle,
    beta: Handle,
    epsilon: number,
    relu: boolean,
  ): { y: Handle; mean: Handle; rstd: Handle; var: Handle };
  dnnBatchNormBackward(
    x: Handle,
    dy: Handle,
    gamma: Handle,
    beta: Handle,
    mean: Handle,
    rstd: Handle,
    relu: boolean,
  ): { dx: Handle; dgamma: Handle; dbeta: Handle };
  normalize(
    x: Handle,
    gamma: Maybe,
    beta: Maybe,
    mean: Handle,
    variance: Handle,
    epsilon: number,
    relu: boolean,
  ): Handle;
  normalizeBackward(
    x: Handle,
    dy: Handle,
    gamma: Maybe,
    beta: Maybe,
    mean: Handle,
    variance: Handle,
    epsilon: number,
    relu: boolean,
  ): { dx: Handle; dgamma: Maybe; dbeta: Maybe };
  groupNorm(
    x: Handle,
    gamma: Maybe,
    beta: Maybe,
    groups: number,
    epsilon: number,
    relu: boolean,
  ): { y: Handle; mean: Handle; var: Handle };
  groupNormBackward(
    x: Handle,
    dy: Handle,
    gamma: Maybe,
    beta: Maybe,
    mean: Handle,
    variance: Handle,
    groups: number,
    epsilon: number,
    relu: boolean,
    add: Maybe,
    extraSamples: number,
  ): { dx: Handle; dgamma: Maybe; dbeta: Maybe };

  kalmanUpdate(input: KalmanInput, options: KalmanOptions): KalmanResult;
  kalmanUpdateBackward(
    input: KalmanInput,
    result: KalmanResult,
    dy: Handle,
    dposteriorMean: Maybe,
    dposteriorVar: Maybe,
    options: KalmanOptions,
    add: Maybe,
    extraSamples: number,
  ): { dx: Handle; dgamma: Maybe; dbeta: Maybe; dgain: Maybe; dpriorMean: Maybe; dpriorVar: Maybe };
  samplePrior(
    mean: Handle,
    variance: Handle,
    splits: number,
    height: number,
    width: number,
    random: RandomSource | null,
    noise: Maybe,
  ): Handle;
  samplePriorBackward(mean: Handle, variance: Handle, y: Handle, dy: Handle): { mean: Handle; var: Handle };

  transition(
    mean: Handle,
    variance: Handle,
    w: Handle,
    splits: number,
    height: number,
    width: number,
    shape: ConvShape,
  ): { mean: Handle; var: Handle };
  transitionBackward(
    mean: Handle,
    variance: Handle,
    w: Handle,
    splits: number,
    height: number,
    width: number,
    shape: ConvShape,
    dmean: Handle,
    dvariance: Handle,
  ): { dmean: Handle; dvar: Handle; dw: Handle };

  softmaxCrossEntropy(logits: Handle, labels: Handle): { loss: Handle; errors: Handle; dlogits: Handle };
  sgd(
    parameters: readonly { weight: Handle; gradient: Handle; momentum: Handle; weightDecay: number }[],
    learningRate: Handle,
    momentum: number,
    lossScale: Maybe,
  ): void;
  /** `lossScale`: [factor, steps since it changed, whether a gradient of this step isn't finite]; writes the last. */
  checkFinite(gradients: readonly Handle[], lossScale: Handle): void;
  updateLossScale(lossScale: Handle, growth: number, backoff: number, interval: number): void;
  gather(input: {
    images: Handle;
    labels: Handle;
    mean: Handle;
    indices: Handle;
    cursor: Handle;
    batch: number;
    pad: number;
    scale: number;
    augment: boolean;
    random: RandomSource | null;
  }): { images: Handle; labels: Handle };
}

const searched = ['../build/Release/kalman_norm.node', '../../build/Release/kalman_norm.node'];

function load(): { addon: Addon; folder: string } {
  // libgomp reads this once, when it is loaded; spinning threads slow everything else on shared cores 3 to 10 times.
  process.env.OMP_WAIT_POLICY ??= 'passive';
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  for (const file of searched) {
    const path = fileURLToPath(new URL(file, import.meta.url));
    try {
      const addon = require(path) as Addon;
      addon.setErrorClass(KalmanNormError);
      const reason = addon.cpuUnsupported();
      if (reason) throw new Error(reason);
      return { addon, folder: dirname(path) };
    } catch (error) {
      failures.push(`  ${path}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  throw new KalmanNormError(
    'DEVICE_UNAVAILABLE',
    `The native addon can't be loaded on ${process.platform}-${process.arch}, Node ${process.version}:\n` +
      `${failures.join('\n')}\n` +
      'Build it with "npm run build:native"; on Debian it needs "apt-get install g++ make cmake libdnnl-dev".',
  );
}

const loaded = load();

/** The native addon; loaded with the module. */
export const native: Addon = loaded.addon;
/** Where the addon lies, and with it the libraries of further devices. */
export const addonFolder: string = loaded.folder;
