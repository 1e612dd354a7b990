import { checkObjects, shownJson } from '../arguments.js';
import { check } from '../errors.js';

/** Size of the images that a network takes. */
export interface InputSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** What is done to raw pixels, 0 to 255, before a network sees them: (pixel - mean)·scale. */
export interface InputNormalization {
  /** An image [C, H, W], or one value a channel. */
  readonly mean: Float32Array | readonly number[];
  /** One factor, or one a channel. */
  readonly scale: number | readonly number[];
}

/** What a network is for, beside its architecture and weights: all that somebody needs to use it. */
export interface ModelDescription {
  /** One name a class, in the order of the logits. Default: not known */
  readonly classNames?: readonly string[] | undefined;
  /** Default: not known */
  readonly input?: InputSize | undefined;
  /** Default: not known */
  readonly normalization?: InputNormalization | undefined;
}

/**
 * Pixels as a network wants them: (pixel - mean)·scale.
 *
 * @param pixels 0 to 255, as [N, C, H, W]
 * @param description with `input` and `normalization`, as {@link loadModel} and {@link openModel} return them
 * @returns [N, C, H, W]
 * @throws KalmanNormError `INVALID_ARGUMENT` where the description has no size or normalization; `SHAPE_MISMATCH` where
 *   the pixels aren't a number of such images
 */
export function normalizeImages(pixels: Uint8Array, description: ModelDescription): Float32Array {
  checkObjects('normalizeImages', { pixels, description });
  const { input, normalization } = description;
  check(
    input !== undefined && normalization !== undefined,
    'INVALID_ARGUMENT',
    'normalizeImages: the description must have the size and normalization of images',
  );
  const { channels, height, width } = input;
  const plane = height * width;
  const size = channels * plane;
  check(
    pixels.length % size === 0,
    'SHAPE_MISMATCH',
    `normalizeImages: images have ${channels} × ${height} × ${width} = ${size} pixels, got ${pixels.length}`,
  );
  const { mean, scale } = normalization;
  const perPixel = mean.length === size;
  const values = new Float32Array(pixels.length);
  // Plain loops: this runs on the event loop of services.
  for (let start = 0; start < pixels.length; start += plane) {
    const channel = (start / plane) % channels;
    const factor = typeof scale === 'number' ? scale : (scale[channel] as number);
    for (let i = start; i < start + plane; i++) {
      values[i] = ((pixels[i] as number) - (mean[perPixel ? i % size : channel] as number)) * factor;
    }
  }
  return values;
}

/**
 * Checks a description's parts and that they fit each other.
 *
 * @param fail throws, with what is wrong
 * @internal
 */
export function checkDescription(description: ModelDescription, fail: (message: string) => never): void {
  const { classNames, input, normalization } = description;
  const isTexts = Array.isArray(classNames) && classNames.every((name) => typeof name === 'string');
  if (classNames !== undefined && !isTexts) fail('classNames must be an array of texts');
  if (input !== undefined) {
    for (const name of ['channels', 'height', 'width'] as const) {
      const size = input?.[name];
      if (!(Number.isInteger(size) && size >= 1 && size <= 65_536)) {
        fail(`input.${name} must be a whole number from 1 to 65536, got ${shownJson(size)}`);
      }
    }
  }
  if (normalization === undefined) return;
  if (input === undefined) fail('normalization needs the size of the input');
  const { mean, scale } = normalization ?? {};
  const { channels, height, width } = input as InputSize;
  const isNumbers = (values: unknown): values is ArrayLike<number> =>
    (Array.isArray(values) || values instanceof Float32Array) && values.every(Number.isFinite);
  const sizes = [channels, channels * height * width];
  if (!isNumbers(mean) || !sizes.includes(mean.length)) {
    fail(`normalization.mean must be ${sizes.join(' or ')} numbers`);
  }
  if (!Number.isFinite(scale) && !(isNumbers(scale) && scale.length === channels)) {
    fail(`normalization.scale must be a number, or ${channels} of them`);
  }
}
