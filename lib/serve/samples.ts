import type { TensorData } from '../addon/contract.js';
import { check, KalmanNormError } from '../errors.js';
import { fittedDecoder } from '../io/decode-fitted.js';
import { type InputSize, type ModelDescription, normalizeImages } from '../io/model-description.js';
import { Tensor } from '../tensor.js';

/**
 * One input of a network. A `Buffer` is an encoded image (JPEG, PNG or WebP), whose middle is resized to the network's
 * input; that needs `sharp`, but for JPEGs where the network takes squares of 3 channels. Another `Uint8Array` is pixels,
 * 0 to 255, [C, H, W]. To both the model's normalization is applied. A `Float32Array`, [C, H, W], is taken as it is.
 */
export type Sample = Buffer | Uint8Array | Float32Array;

type Input = Sample | readonly Sample[] | Tensor;

/** Turns what users have into what a network takes. */
export class SampleReader {
  private readonly size: number;
  private readonly shape: string;
  private decode: ReturnType<typeof fittedDecoder> | null = null;

  constructor(
    private readonly description: ModelDescription,
    private readonly input: InputSize,
    private readonly maxPixels: number,
  ) {
    const { channels, height, width } = input;
    this.size = channels * height * width;
    this.shape = `${channels}, ${height}, ${width}`;
  }

  isTensor(input: unknown): input is Tensor {
    return input instanceof Tensor;
  }

  /** Number of samples; they are checked as far as can be without reading them. */
  count(input: Input): number {
    if (input instanceof Tensor) {
      const [count = 0, ...rest] = input.shape;
      check(
        rest.join(', ') === this.shape,
        'SHAPE_MISMATCH',
        () => `predict: a tensor must be [N, ${this.shape}], got [${input.shape.join(', ')}]`,
      );
      check(
        input.dtype === 'float32' || input.dtype === 'uint8',
        'DTYPE_MISMATCH',
        () => `predict: a tensor must be float32 or uint8, got ${input.dtype}`,
      );
      return count;
    }
    const samples: readonly unknown[] = Array.isArray(input) ? input : [input];
    check(samples.length > 0, 'INVALID_ARGUMENT', 'predict: expected at least one sample, got an empty array');
    samples.forEach((sample, i) => {
      const name = Array.isArray(input) ? `sample ${i}` : 'the sample';
      check(
        sample instanceof Uint8Array || sample instanceof Float32Array,
        'DTYPE_MISMATCH',
        () => `predict: ${name} must be a Buffer, a Uint8Array or a Float32Array, got ${typeName(sample)}`,
      );
      check(
        Buffer.isBuffer(sample) || sample.length === this.size,
        'SHAPE_MISMATCH',
        () => `predict: ${name} must have ${this.size} values, [${this.shape}], got ${sample.length}`,
      );
    });
    return samples.length;
  }

  /** The values of each sample, normalized; what the caller's arrays hold at the time of the call. */
  read(input: Input): Promise<Float32Array[]> {
    if (input instanceof Tensor) return input.data().then((data) => this.split(data));
    const samples = (Array.isArray(input) ? input : [input]) as readonly Sample[];
    return Promise.all(
      samples.map((sample) => {
        if (Buffer.isBuffer(sample)) return this.readImage(sample);
        return sample instanceof Float32Array ? sample.slice() : this.normalize(sample);
      }),
    );
  }

  private split(data: TensorData): Float32Array[] {
    return Array.from({ length: data.length / this.size }, (_, i) => {
      const sample = data.subarray(i * this.size, (i + 1) * this.size) as Uint8Array | Float32Array;
      return sample instanceof Float32Array ? sample : this.normalize(sample);
    });
  }

  private normalize(pixels: Uint8Array): Float32Array {
    check(
      this.description.normalization !== undefined,
      'INVALID_ARGUMENT',
      "predict: the model file doesn't say how pixels are normalized; give a Float32Array, or saveModel `normalization`",
    );
    return normalizeImages(pixels, this.description);
  }

  private async readImage(image: Buffer): Promise<Float32Array> {
    const { channels, height, width } = this.input;
    check(
      channels === 1 || channels === 3,
      'INVALID_ARGUMENT',
      `predict: encoded images are for networks of 1 or 3 channels; this one has ${channels}`,
    );
    // Other formats that libvips knows, such as SVG and PDF, do more than hold pixels.
    check(isImage(image), 'INVALID_ARGUMENT', 'predict: an encoded image must be a JPEG, PNG or WebP file');
    this.decode ??= fittedDecoder('predict', { channels, height, width, fit: 'cover', maxPixels: this.maxPixels });
    const decode = await this.decode;
    const pixels = await decode(image).catch((error: Error) => {
      if (error instanceof KalmanNormError && error.code === 'PACKAGE_MISSING') throw error;
      throw new KalmanNormError('INVALID_ARGUMENT', `predict: the image can't be decoded: ${error.message}`, {
        cause: error,
      });
    });
    return this.normalize(pixels);
  }
}

function isImage(bytes: Buffer): boolean {
  const starts = bytes.subarray(0, 12).toString('latin1');
  return starts.startsWith('\xff\xd8\xff') || starts.startsWith('\x89PNG\r\n\x1a\n') || /^RIFF.{4}WEBP/s.test(starts);
}

function typeName(value: unknown): string {
  return (value as object | null)?.constructor?.name ?? String(value);
}
