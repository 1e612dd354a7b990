import type { Sharp, SharpOptions } from 'sharp';
import { check, KalmanNormError } from '../errors.js';
import type { CropSize, DecodeCrop } from './crop.js';

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

/** As Pillow resizes for torchvision, and decode-jpeg.ts does: a triangle, made wider where an image gets smaller. */
const kernel = 'linear';

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
  const open = await imageOpener(caller, maxPixels);
  return async (image) => {
    const planes = new Uint8Array(channels * height * width);
    await intoPlanes(open(image).resize(width, height, { fit, kernel }), channels, planes);
    return planes;
  };
}

/**
 * Decodes squares out of images by sharp, on libvips' threads; see {@link openCropDecoder}.
 *
 * @throws KalmanNormError `PACKAGE_MISSING` where sharp isn't installed
 * @internal
 */
export async function sharpCrops(caller: string, { size, shorter, maxPixels }: CropSize): Promise<DecodeCrop> {
  const open = await imageOpener(caller, maxPixels);
  const margin = Math.floor((shorter - size) / 2);
  return async (image, into, choose) => {
    const whole = open(image);
    if (!choose) {
      const square = whole.resize(shorter, shorter, { fit: 'cover', kernel });
      return intoPlanes(square.extract({ left: margin, top: margin, width: size, height: size }), 3, into);
    }
    const { autoOrient } = await whole.metadata();
    const crop = choose(autoOrient.width, autoOrient.height);
    // From half the size on libjpeg decodes a smaller image (by its DCT), but sharp doesn't ask it to for a part: there the
    // whole is resized, and the part taken from it. Above, that costs more than it saves (docs/imagenet.md).
    if (Math.min(crop.width, crop.height) < 2 * size) {
      return intoPlanes(whole.extract(crop).resize(size, size, { fit: 'fill', kernel }), 3, into);
    }
    const [x, y] = [size / crop.width, size / crop.height];
    const [width, height] = [Math.round(autoOrient.width * x), Math.round(autoOrient.height * y)];
    const left = Math.min(Math.round(crop.left * x), width - size);
    const top = Math.min(Math.round(crop.top * y), height - size);
    const resized = whole.resize(width, height, { fit: 'fill', kernel });
    return intoPlanes(resized.extract({ left, top, width: size, height: size }), 3, into);
  };
}

/** A function that opens images, turned as their EXIF data says, and in their colours alone. */
async function imageOpener(caller: string, maxPixels?: number): Promise<(image: string | Buffer) => Sharp> {
  const { default: sharp } = await import('sharp').catch((error: unknown) => {
    const remedy = 'npm install sharp@^0.35.5';
    throw new KalmanNormError('PACKAGE_MISSING', `${caller}: images are decoded by sharp: ${remedy}`, { cause: error });
  });
  const options: SharpOptions = { failOn: 'error', ...(maxPixels && { limitInputPixels: maxPixels }) };
  return (image) => sharp(image, options).rotate().flatten({ background: '#000' });
}

/** Writes an image's pixels, plane by plane. */
async function intoPlanes(image: Sharp, channels: 1 | 3, into: Uint8Array): Promise<void> {
  const pixels = await image
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer();
  const size = into.length / channels;
  check(
    pixels.length === into.length,
    'FILE_CORRUPT',
    `expected ${channels} colour planes, got ${pixels.length / size}`,
  );
  for (let c = 0; c < channels; c++) {
    for (let i = 0, at = c; i < size; i++, at += channels) into[c * size + i] = pixels[at] as number;
  }
}
