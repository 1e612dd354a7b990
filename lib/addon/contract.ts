// What lib and the native addon agree on. test/contract.test.ts compares it, name by name, with what the addon exports.

/** Element types of tensors. */
export type DType = 'float32' | 'int32' | 'uint8';
/** What a tensor is for, by which the device chooses its physical layout. */
export type Format = 'plain' | 'activation' | 'filter';

/** Values as they come from the device, in row-major order. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

/** A reference to device memory. Several handles may share the memory; it is freed with the last of them. */
export interface Handle {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly format: Format;
  /** How many virtual samples its memory has room for, behind its own. */
  readonly virtualSamples: number;
  /** Gives this reference up; later use of it throws `DISPOSED`. A second call does nothing. */
  dispose(): void;
  /** Another reference to the same memory. */
  share(): Handle;
  /** Samples [from, from + count), sharing the memory. */
  samples(from: number, count: number): Handle;
}

/** A recorded step. */
export interface NativeProgram {
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

/** A stream of work; see {@link Device}. */
export interface NativeDevice {
  readonly name: string;
  readonly description: string;
  memoryStats(): MemoryStats;
  resetPeakMemory(): void;
  trimMemory(): void;
  /** Resolves when everything enqueued so far has run; rejects when a launch failed. */
  synchronize(): Promise<void>;
  beginRecording(): void;
  endRecording(): NativeProgram;
  abandonRecording(): void;
  replay(program: NativeProgram, count: number): void;
  setProfiling(on: boolean): void;
  profile(): Record<string, { calls: number; nanoseconds: number }>;
  dispose(): void;
}

/** How a CUDA device stores activations and multiplies them; see {@link DeviceOptions.precision}. */
export type Precision = 'fp32' | 'tf32' | 'fp16' | 'bf16';

/** How a CUDA device is opened; see {@link DeviceOptions}. */
export interface CudaOptions {
  index: number;
  memoryLimit: number;
  precision: Precision;
  deterministic: boolean;
  benchmark: boolean;
}

/** A GPU as the driver shows it. */
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

/** A tensor that may be absent. */
export type Maybe = Handle | null;

/** State [3] (int32) of a random stream on the device, and the number of the draw within a step. */
export interface RandomSource {
  state: Handle;
  stream: number;
}

/** Scale and shift per channel. */
interface Affine {
  gamma?: Maybe;
  beta?: Maybe;
}

/** Options of the normalizations' kernels. */
interface Normalization {
  epsilon: number;
  relu: boolean;
}

/** Where a backward adds the gradient that x has from elsewhere, and leaves room behind its result. */
interface Absorbing {
  add?: Maybe;
  virtualSamples: number;
}

/** Gradients of a normalization. */
interface NormGradients {
  dx: Handle;
  dgamma: Maybe;
  dbeta: Maybe;
}

/** How a Kalman normalization filters. */
interface KalmanFilter extends Normalization {
  splits: number;
  /** Whether x has one virtual sample a split behind the real ones: their moments are the prior. */
  hasVirtual: boolean;
  /** Whether y gets virtual samples of the posterior. */
  sample: boolean;
  /** Weight of the observation, where there is no tensor `gain`. */
  fixedGain: number;
}

/** Result of a Kalman normalization. */
export type KalmanResult = {
  y: Handle;
  priorMean: Maybe;
  priorVar: Maybe;
  observationMean: Handle;
  observationVar: Handle;
  posteriorMean: Handle;
  posteriorVar: Handle;
  ratio: Handle;
};

/** What an adaptive Kalman normalization found: belief [C]; observation, posterior and gain [splits·C]. */
export type AdaptiveResult = {
  beliefMean: Handle;
  beliefVar: Handle;
  observationMean: Handle;
  observationVar: Handle;
  posteriorMean: Handle;
  posteriorVar: Handle;
  gainMean: Handle;
  gainVar: Handle;
};

/** A belief that is pushed through ReLU and a convolution. */
interface Transition {
  mean: Handle;
  variance: Handle;
  w: Handle;
  splits: number;
  height: number;
  width: number;
  shape: ConvShape;
  /** Variance over the positions of all images, instead of what it is within one on average. */
  population: boolean;
  /** Whether the convolution sees max(x, 0) of a Gaussian x. */
  rectified: boolean;
}

/**
 * The operations: checked launches of the functions in native/core, under the same names. Each takes one object. All but
 * `download` return at once; wrong arguments throw a {@link KalmanNormError} before anything is enqueued.
 */
export interface Operations {
  createCpuDevice(options: { threads: number; memoryLimit: number }): NativeDevice;
  /** `library`: path of the CUDA device's shared library. Throws `DEVICE_UNAVAILABLE`, saying what is missing. */
  createCudaDevice(options: { library: string } & CudaOptions): NativeDevice;
  /** The GPUs that the driver shows; throws as `createCudaDevice`. */
  cudaDevices(args: { library: string }): CudaDeviceInfo[];

  upload(args: { device: NativeDevice; shape: readonly number[]; format: Format; values: TensorData }): Handle;
  write(args: { tensor: Handle; values: TensorData }): void;
  /** Resolves with row-major values when everything enqueued so far has run. */
  download(args: { tensor: Handle }): Promise<TensorData>;
  full(args: { device: NativeDevice; shape: readonly number[]; dtype: DType; format: Format; value: number }): Handle;
  /** Uninitialised, with room for virtual samples behind the tensor's own. */
  empty(args: {
    device: NativeDevice;
    shape: readonly number[];
    dtype: DType;
    format: Format;
    virtualSamples: number;
  }): Handle;
  /** The tensor together with the virtual samples behind it, which its memory must have room for. */
  grow(args: { tensor: Handle; virtualSamples: number }): Handle;
  fill(args: { tensor: Handle; value: number }): void;
  copy(args: { from: Handle; to: Handle }): void;
  reshape(args: { tensor: Handle; shape: readonly number[]; format: Format }): Handle;
  advance(args: { counter: Handle; by: number }): void;
  append(args: { value: Handle; cursor: Handle; history: Handle }): void;

  add(args: { a: Handle; b: Handle }): Handle;
  addInto(args: { target: Handle; other: Handle }): void;
  multiply(args: { a: Handle; b: Handle }): Handle;
  scale(args: { x: Handle; factor: number }): Handle;
  /** x times a tensor of one value. */
  scaleBy(args: { x: Handle; factor: Handle }): Handle;
  relu(args: { x: Handle }): Handle;
  reluBackward(args: { y: Handle; dy: Handle }): Handle;
  sigmoid(args: { x: Handle }): Handle;
  sigmoidBackward(args: { y: Handle; dy: Handle }): Handle;

  conv2d(args: { x: Handle; w: Handle; shape: ConvShape }): Handle;
  conv2dBackwardData(args: { dy: Handle; w: Handle; x: Handle; shape: ConvShape }): Handle;
  conv2dBackwardWeights(args: { x: Handle; dy: Handle; w: Handle; shape: ConvShape }): Handle;
  linear(args: { x: Handle; w: Handle; b?: Maybe }): Handle;
  linearBackward(args: { x: Handle; w: Handle; dy: Handle; needDx: boolean; bias: boolean }): {
    dx: Maybe;
    dw: Handle;
    db: Maybe;
  };

  avgPool2d(args: { x: Handle; size: number }): Handle;
  avgPool2dBackward(args: { dy: Handle; x: Handle; size: number; virtualSamples: number }): Handle;
  globalAvgPool(args: { x: Handle }): Handle;
  globalAvgPoolBackward(args: { dy: Handle; x: Handle; virtualSamples: number }): Handle;
  padChannels(args: { x: Handle; before: number; after: number }): Handle;
  padChannelsBackward(args: { dy: Handle; x: Handle; before: number }): Handle;
  padBelief(args: { x: Handle; splits: number; before: number; after: number; aligned: boolean }): Handle;
  padBeliefBackward(args: {
    dy: Handle;
    x: Handle;
    splits: number;
    before: number;
    after: number;
    aligned: boolean;
  }): Handle;

  moments(args: { x: Handle; splits: number }): { mean: Handle; var: Handle };
  /** Writes into `dx` where it is given. */
  momentsBackward(args: { x: Handle; splits: number; mean: Handle; dmean: Handle; dvar: Handle; dx?: Maybe }): Handle;
  addMoments(args: { a: Handle; b: Handle; splits: number; inPlace: boolean }): {
    out: Handle;
    mean: Maybe;
    var: Maybe;
  };
  updateRunning(args: {
    mean: Handle;
    variance: Handle;
    runningMean: Handle;
    runningVar: Handle;
    splits: number;
    momentum: number;
    correction: number;
    allSplits: boolean;
  }): void;

  batchNorm(args: { x: Handle; splits: number; mean?: Maybe; variance?: Maybe } & Affine & Normalization): {
    y: Handle;
    mean: Handle;
    var: Handle;
  };
  batchNormBackward(
    args: { x: Handle; dy: Handle; mean: Handle; variance: Handle; splits: number } & Affine &
      Normalization &
      Absorbing,
  ): NormGradients;
  /** By cuDNN, over the whole batch; throws `INVALID_ARGUMENT` on other devices than CUDA's. */
  dnnBatchNorm(args: { x: Handle; gamma: Handle; beta: Handle } & Normalization): {
    y: Handle;
    mean: Handle;
    rstd: Handle;
    var: Handle;
  };
  dnnBatchNormBackward(args: {
    x: Handle;
    dy: Handle;
    gamma: Handle;
    beta: Handle;
    mean: Handle;
    rstd: Handle;
    relu: boolean;
  }): { dx: Handle; dgamma: Handle; dbeta: Handle };
  normalize(args: { x: Handle; mean: Handle; variance: Handle } & Affine & Normalization): Handle;
  normalizeBackward(
    args: { x: Handle; dy: Handle; mean: Handle; variance: Handle } & Affine & Normalization,
  ): NormGradients;
  groupNorm(args: { x: Handle; groups: number } & Affine & Normalization): { y: Handle; mean: Handle; var: Handle };
  groupNormBackward(
    args: { x: Handle; dy: Handle; mean: Handle; variance: Handle; groups: number } & Affine &
      Normalization &
      Absorbing,
  ): NormGradients;

  weightStandardize(args: { w: Handle; epsilon: number }): { y: Handle; mean: Handle; var: Handle };
  weightStandardizeBackward(args: { w: Handle; dy: Handle; mean: Handle; variance: Handle; epsilon: number }): Handle;

  kalmanNorm(
    args: {
      x: Handle;
      gain?: Maybe;
      priorMean?: Maybe;
      priorVar?: Maybe;
      observationMean?: Maybe;
      observationVar?: Maybe;
      random?: RandomSource | null;
      noise?: Maybe;
      guard: number;
    } & Affine &
      KalmanFilter,
  ): KalmanResult;
  /** Takes the result of `kalmanNorm`, whose prior has a gradient where it isn't that of virtual samples. */
  kalmanNormBackward(
    args: {
      x: Handle;
      gain?: Maybe;
      y: Handle;
      priorMean?: Maybe;
      priorVar?: Maybe;
      observationMean: Handle;
      observationVar: Handle;
      posteriorMean: Handle;
      posteriorVar: Handle;
      ratio: Handle;
      dy: Handle;
      dposteriorMean?: Maybe;
      dposteriorVar?: Maybe;
    } & Affine &
      KalmanFilter &
      Absorbing,
  ): NormGradients & { dgain: Maybe; dpriorMean: Maybe; dpriorVar: Maybe };

  /** Moves `state` [9, C] and the running averages. Without a prior the belief is what the correction makes of N(0, 1). */
  adaptiveKalmanNorm(
    args: {
      x: Handle;
      priorMean?: Maybe;
      priorVar?: Maybe;
      state: Handle;
      runningMean: Handle;
      runningVar: Handle;
      observationMean?: Maybe;
      observationVar?: Maybe;
      splits: number;
      /** Weight of the observation; negative: estimated. */
      fixedGain: number;
      correction: number;
      adaptation: number;
      gate: number;
      momentum: number;
    } & Affine &
      Normalization,
  ): { y: Handle } & AdaptiveResult;
  adaptiveKalmanNormBackward(
    args: {
      x: Handle;
      priorMean?: Maybe;
      priorVar?: Maybe;
      dy: Handle;
      dbeliefMean?: Maybe;
      dbeliefVar?: Maybe;
      splits: number;
      observationGradient: number;
    } & AdaptiveResult &
      Affine &
      Normalization &
      Absorbing,
  ): NormGradients & { dpriorMean: Maybe; dpriorVar: Maybe };

  /** Mean and variance of max(x, 0) for a Gaussian x. */
  rectifyBelief(args: { mean: Handle; variance: Handle }): { mean: Handle; var: Handle };
  rectifyBeliefBackward(args: { mean: Handle; variance: Handle; dmean: Handle; dvariance: Handle }): {
    mean: Handle;
    var: Handle;
  };
  samplePrior(args: {
    mean: Handle;
    variance: Handle;
    splits: number;
    height: number;
    width: number;
    random?: RandomSource | null;
    noise?: Maybe;
  }): Handle;
  samplePriorBackward(args: { mean: Handle; variance: Handle; y: Handle; dy: Handle }): { mean: Handle; var: Handle };
  predict(args: Transition): { mean: Handle; var: Handle };
  predictBackward(args: Transition & { dmean: Handle; dvariance: Handle }): { dmean: Handle; dvar: Handle; dw: Handle };

  crossEntropy(args: { logits: Handle; labels: Handle }): { loss: Handle; errors: Handle; dlogits: Handle };
  sgd(args: {
    parameters: readonly { weight: Handle; gradient: Handle; momentum: Handle; weightDecay: number }[];
    learningRate: Handle;
    momentum: number;
    lossScale?: Maybe;
  }): void;
  /** `lossScale`: [factor, steps since it changed, whether a gradient of this step isn't finite]; writes the last. */
  checkFinite(args: { gradients: readonly Handle[]; lossScale: Handle }): void;
  updateLossScale(args: { lossScale: Handle; growth: number; backoff: number; interval: number }): void;
  gather(args: {
    images: Handle;
    labels: Handle;
    mean: Handle;
    indices: Handle;
    cursor: Handle;
    batch: number;
    pad: number;
    scale: number;
    augment: boolean;
    random?: RandomSource | null;
  }): { images: Handle; labels: Handle };
}

/** The addon: the operations, and what loading it needs. */
export interface Addon extends Operations {
  /** Makes the addon throw this class; called once after loading. */
  setErrorClass(errorClass: new (code: never, message: string) => Error): void;
  /** Empty where this machine can run the addon's CPU kernels, else the reason. */
  cpuUnsupported(): string;
  /** The names of each operation's parameters, "name?" for those that may be left out. */
  signatures(): Record<keyof Operations, readonly string[]>;
}
