import { check, KalmanNormError } from '../errors.js';

/** How images are decoded. */
export interface DecodeOptions {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** `cover` cuts what is too much from the middle of the longer side, `fill` stretches. */
  readonly fit: 'cover' | 'fill';
  /** Most pixels that an image may have before it is resized. Default: sharp's, 268 million */
  readonly maxPixels?: number;
}

/**
 * A function that turns an image file, or its bytes, into planes of pixels, [channels, height, width]: turned as its
 * EXIF data says, resized. It runs on libvips' threads.
 *
 * @param caller for messages
 * @throws KalmanNormError `PACKAGE_MISSING` where sharp isn't installed
 * @internal
 */
export async function imageDecoder(
  caller: string,
  { channels, height, width, fit, maxPixels }: DecodeOptions,
): Promise<(image: string | Buffer) => Promise<Uint8Array>> {
  const { default: sharp } = await import('sharp').catch((error: unknown) => {
    const remedy = 'npm install sharp@^0.35.5';
    throw new KalmanNormError('PACKAGE_MISSING', `${caller}: images are decoded by sharp: ${remedy}`, { cause: error });
  });
  return async (image) => {
    const pixels = await sharp(image, { failOn: 'error', ...(maxPixels && { limitInputPixels: maxPixels }) })
      .rotate()
      .flatten({ background: '#000' })
      .resize(width, height, { fit })
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw()
      .toBuffer();
    check(
      pixels.length === channels * height * width,
      'FILE_CORRUPT',
      `expected ${channels} colour planes, got ${pixels.length / (height * width)}`,
    );
    const planes = new Uint8Array(pixels.length);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < height * width; i++) planes[c * height * width + i] = pixels[i * channels + c] as number;
    }
    return planes;
  };
}
