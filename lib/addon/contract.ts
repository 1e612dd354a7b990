// What lib and the native addon agree on: values, devices and memory. Each family of operations adds its own functions to
// the interface `Operations`, where it calls them; test/contract.test.ts compares all of them, name by name, with what the
// addon exports.

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
  /** Whether there are other references to the same memory. */
  readonly shared: boolean;
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
  readonly queueDepth: number;
  cancel(): void;
  /** What is enqueued from now on finds the results of exchanges with other processes, which run beside the stream. */
  joinExchanges(): void;
  beginRecording(): void;
  endRecording(): NativeProgram;
  abandonRecording(): void;
  replay(program: NativeProgram, count: number): void;
  setProfiling(on: boolean): void;
  profile(): Record<string, { calls: number; nanoseconds: number }>;
  /** Never rejects. */
  dispose(): Promise<void>;
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

/**
 * Stride, then padding: [strideH, strideW, top, left, bottom, right]. Convolutions may have dilation and groups too:
 * [..., dilationH, dilationW, groups].
 */
export type ConvShape = readonly [
  number,
  number,
  number,
  number,
  number,
  number,
  ...([] | [dilationH: number, dilationW: number, groups: number]),
];

/** A tensor that may be absent. */
export type Maybe = Handle | null;

/** State [3] (int32) of a random stream on the device, and the number of the draw within a step. */
export interface RandomSource {
  state: Handle;
  stream: number;
}

/** Scale and shift per channel. */
export interface Affine {
  gamma?: Maybe;
  beta?: Maybe;
}

/** Options of the normalizations' kernels. */
export interface Normalization {
  epsilon: number;
  relu: boolean;
}

/** Where a backward adds the gradient that x has from elsewhere, and leaves room behind its result. */
export interface Absorbing {
  add?: Maybe;
  virtualSamples: number;
}

/** Gradients of a normalization. */
export interface NormGradients {
  dx: Handle;
  dgamma: Maybe;
  dbeta: Maybe;
}

/**
 * The operations: checked launches of the functions in native/core, under the same names. Each takes one object. All but
 * `download` return at once; wrong arguments throw a {@link KalmanNormError} before anything is enqueued. The types of
 * the other operations are with their families in lib/ops and lib/optim.
 */
export interface Operations {
  createCpuDevice(options: { threads: number; memoryLimit: number }): NativeDevice;
  /** `library`: path of the CUDA device's shared library. Throws `DEVICE_UNAVAILABLE`, saying what is missing. */
  createCudaDevice(options: { library: string } & CudaOptions): NativeDevice;
  /** The GPUs that the driver shows; throws as `createCudaDevice`. */
  cudaDevices(args: { library: string }): CudaDeviceInfo[];

  upload(args: { device: NativeDevice; shape: readonly number[]; format: Format; values: TensorData }): Handle;
  /** Zeros; see {@link Device.hostBuffer}. */
  hostBuffer(args: { device: NativeDevice; bytes: number }): Uint8Array;
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
}

/** The addon: the operations, and what loading it needs. */
export interface Addon extends Operations {
  /** Of the package that it was built from. */
  readonly version: string;
  /** Makes the addon throw this class; called once after loading. */
  setErrorClass(errorClass: new (code: never, message: string) => Error): void;
  /** The names of each operation's parameters, "name?" for those that may be left out. */
  signatures(): Record<keyof Operations, readonly string[]>;
}
