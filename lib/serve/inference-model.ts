import { checkDevice, checkObjects } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import type { ModelInfo } from '../io/model-file.js';
import type { Module } from '../nn/module.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Batcher } from './batcher.js';
import { type Classification, likeliest } from './classification.js';
import { isNetwork, Programs } from './programs.js';
import { type Sample, SampleReader } from './samples.js';

/** How a model gathers and limits its work. */
export interface InferenceOptions {
  /** Most samples that run at once. Default: 16 */
  readonly maxBatch?: number;
  /** Milliseconds that a sample may wait for others while nothing runs. Default: 0, those of one turn of the event loop */
  readonly maxDelay?: number;
  /** Most samples that may be accepted and not answered; calls beyond get `OVERLOADED`. Default: 256 */
  readonly maxQueue?: number;
  /** Batch sizes whose program is kept. Default: 8 */
  readonly maxPrograms?: number;
  /** Most pixels of an encoded image, before it is resized. Default: 2^25 */
  readonly maxPixels?: number;
}

/** @internal */
export const inferenceNames: OptionNames<InferenceOptions> = {
  maxBatch: true,
  maxDelay: true,
  maxQueue: true,
  maxPrograms: true,
  maxPixels: true,
};

/** Options of a call. */
export interface PredictOptions {
  /** Takes what has not started out of the queue, and rejects with the signal's reason. Default: none */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link InferenceModel.classify}. */
export interface ClassifyOptions extends PredictOptions {
  /** Number of classes wanted, the likeliest first. Default: 5, or all where there are fewer */
  readonly topK?: number;
}

const predictNames: OptionNames<PredictOptions> = { signal: true };
const classifyNames: OptionNames<ClassifyOptions> = { ...predictNames, topK: true };

/** Most values of an input: a file's word alone must not allocate more. */
const MAX_INPUT = 2 ** 24;

/**
 * A trained network, ready to be used; made by {@link loadModel}. Calls that come together run as one batch; each
 * batch size is recorded once and then replayed. Only the copies in (with the normalization of pixels) and out run on the
 * event loop.
 */
export class InferenceModel {
  private readonly programs: Programs;
  private readonly samples: SampleReader;
  private readonly batcher: Batcher<Float32Array, Float32Array>;
  /** Number of values of a sample, C·H·W. */
  readonly inputSize: number;
  /** Number of outputs of a sample; classes, for a classifier. */
  readonly outputs: number;
  /** Most samples that may be accepted and not answered: what {@link InferenceModel.queued} may reach. */
  readonly maxQueue: number;
  private accepted = 0;
  private disposal: Promise<void> | null = null;

  /** @internal Use {@link loadModel}. */
  constructor(
    device: Device,
    private readonly module: Module,
    /** What the file says of the network. */
    readonly info: ModelInfo,
    options: InferenceOptions,
  ) {
    checkDevice('InferenceModel', device);
    checkObjects('InferenceModel', { module, info, options });
    const { maxBatch = 16, maxDelay = 0, maxQueue = 256, maxPrograms = 8, maxPixels = 2 ** 25 } = options;
    for (const [name, size] of Object.entries({ maxBatch, maxQueue, maxPrograms, maxPixels })) {
      check(
        Number.isSafeInteger(size) && size >= 1,
        'INVALID_ARGUMENT',
        `loadModel: ${name} must be a whole number of at least 1, got ${size}`,
      );
    }
    check(
      maxDelay >= 0 && maxDelay <= 60_000,
      'INVALID_ARGUMENT',
      `loadModel: maxDelay must be from 0 to 60000 milliseconds, got ${maxDelay}`,
    );
    const { input, classNames } = info;
    check(input !== undefined, 'STATE_MISMATCH', "the file doesn't say the size of the input; give saveModel `input`");
    this.inputSize = input.channels * input.height * input.width;
    check(
      this.inputSize <= MAX_INPUT,
      'STATE_MISMATCH',
      `the input must have at most ${MAX_INPUT} values, got ${input.channels} × ${input.height} × ${input.width}`,
    );
    check(isNetwork(module), 'STATE_MISMATCH', 'the network has no method forward');
    this.maxQueue = maxQueue;
    this.samples = new SampleReader(info, input, maxPixels);
    this.programs = new Programs(device, module, input, maxPrograms);
    try {
      this.outputs = this.programs.outputs;
      check(
        classNames === undefined || classNames.length === this.outputs,
        'STATE_MISMATCH',
        () => `there are ${classNames?.length} names of classes for ${this.outputs} outputs`,
      );
    } catch (error) {
      this.programs.dispose();
      if (!(error instanceof KalmanNormError) || error.code === 'OUT_OF_MEMORY') throw error;
      throw new KalmanNormError('STATE_MISMATCH', `the network can't be run: ${error.message}`, { cause: error });
    }
    this.batcher = new Batcher((inputs) => this.runBatch(inputs), { maxBatch, maxDelay });
  }

  /** Samples that are accepted and not answered yet. */
  get queued(): number {
    return this.accepted;
  }

  /** Batch sizes that are recorded, the one used last at the end. */
  get recordedSizes(): readonly number[] {
    return this.programs.sizes;
  }

  /**
   * The network's outputs for a sample.
   *
   * @returns its {@link InferenceModel.outputs} values, in row-major order
   * @throws KalmanNormError (all as rejections) `OVERLOADED` where too much is waiting; `SHAPE_MISMATCH`,
   *   `DTYPE_MISMATCH` and `INVALID_ARGUMENT` for samples that aren't what {@link Sample} says; `PACKAGE_MISSING` where an
   *   image has to be decoded and sharp isn't installed; `DISPOSED` after {@link InferenceModel.dispose}
   */
  predict(input: Sample, options?: PredictOptions): Promise<Float32Array>;
  /** The outputs of several samples, in their order; of a tensor [N, C, H, W], float32 as it is or uint8 pixels. */
  predict(input: readonly Sample[] | Tensor, options?: PredictOptions): Promise<Float32Array[]>;
  async predict(
    input: Sample | readonly Sample[] | Tensor,
    options: PredictOptions = {},
  ): Promise<Float32Array | Float32Array[]> {
    checkOptions('predict', options, predictNames);
    const { signal } = options;
    check(this.disposal === null, 'DISPOSED', 'model: used after its disposal');
    signal?.throwIfAborted();
    const several = Array.isArray(input) || this.samples.isTensor(input);
    const count = this.samples.count(input);
    check(
      this.accepted + count <= this.maxQueue,
      'OVERLOADED',
      () => `predict: ${this.accepted} samples are waiting; with ${count} more there would be over ${this.maxQueue}`,
    );
    this.accepted += count;
    try {
      const values = await this.samples.read(input);
      // Disposed while the images were decoded.
      check(this.disposal === null, 'DISPOSED', 'model: used after its disposal');
      const outputs = await Promise.all(values.map((each) => this.batcher.add(each, signal)));
      return several ? outputs : (outputs[0] as Float32Array);
    } finally {
      this.accepted -= count;
    }
  }

  /**
   * The likeliest classes of an image.
   *
   * @throws KalmanNormError as {@link InferenceModel.predict}; `INVALID_ARGUMENT` for `topK` outside 1 to the number of
   *   classes, and where the outputs aren't finite numbers
   */
  classify(image: Sample, options?: ClassifyOptions): Promise<Classification[]>;
  /** The likeliest classes of several images, in their order. */
  classify(images: readonly Sample[] | Tensor, options?: ClassifyOptions): Promise<Classification[][]>;
  async classify(
    images: Sample | readonly Sample[] | Tensor,
    options: ClassifyOptions = {},
  ): Promise<Classification[] | Classification[][]> {
    checkOptions('classify', options, classifyNames);
    const { topK = Math.min(5, this.outputs), signal } = options;
    check(
      Number.isInteger(topK) && topK >= 1 && topK <= this.outputs,
      'INVALID_ARGUMENT',
      `classify: topK must be a whole number from 1 to ${this.outputs}, got ${topK}`,
    );
    const outputs = await this.predict(images as Sample, { signal });
    const classes = (logits: Float32Array) => likeliest(logits, topK, this.info.classNames);
    return Array.isArray(outputs) ? (outputs as Float32Array[]).map(classes) : classes(outputs);
  }

  /**
   * Rejects what has not started, with `DISPOSED`, and frees the network once what runs has ended. The device stays. A
   * second call gives the same promise.
   */
  dispose(): Promise<void> {
    this.disposal ??= this.batcher
      .drop(new KalmanNormError('DISPOSED', 'model: disposed before the sample was run'))
      .then(() => {
        this.programs.dispose();
        this.module.dispose();
      });
    return this.disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private async runBatch(inputs: Float32Array[]): Promise<Float32Array[]> {
    const values = await this.programs.run(this.inARow(inputs), inputs.length);
    return inputs.map((_, i) => values.slice(i * this.outputs, (i + 1) * this.outputs));
  }

  private inARow(inputs: Float32Array[]): Float32Array {
    // Memory for a copy takes a twentieth of a small network's time.
    if (inputs.length === 1) return inputs[0] as Float32Array;
    const batch = new Float32Array(inputs.length * this.inputSize);
    for (const [i, input] of inputs.entries()) batch.set(input, i * this.inputSize);
    return batch;
  }
}
