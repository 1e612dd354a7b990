import { availableParallelism } from 'node:os';
import { check, KalmanNormError } from '../errors.js';
import type { CropSize, DecodeCrop } from './crop.js';
import { sharpCrops } from './decode-image.js';
import { jpegCrops } from './decode-jpeg.js';

/** What decodes images; see {@link DecodeImagesOptions.decoder}. */
export type ImageDecoder = 'auto' | 'native' | 'sharp';

/** @internal */
export interface CropDecoderOptions extends CropSize {
  readonly decoder: ImageDecoder;
  /** That decode JPEGs, at most. Default: as many as the processor has cores */
  readonly threads?: number;
  /** Look for damage in whole files. Default: in what is decoded */
  readonly whole?: boolean;
}

/**
 * Decodes squares out of images, see {@link DecodeCrop}, by the decoder that is asked for.
 *
 * @param caller for messages
 * @returns the decoder, and the name of what decodes JPEGs: `libjpeg-turbo VERSION` or `sharp`
 * @throws KalmanNormError `INVALID_ARGUMENT` for a decoder that is none; `PACKAGE_MISSING` where it isn't there. With
 *   `auto`, sharp is loaded when the first image comes that is for it, and missed then
 * @internal
 */
export async function openCropDecoder(
  caller: string,
  { decoder, threads = availableParallelism(), whole, ...square }: CropDecoderOptions,
): Promise<{ name: string; decode: DecodeCrop }> {
  check(
    decoder === 'auto' || decoder === 'native' || decoder === 'sharp',
    'INVALID_ARGUMENT',
    `${caller}: decoder must be "auto", "native" or "sharp", got "${decoder}"`,
  );
  const bySharp = async () => ({ name: 'sharp', decode: await sharpCrops(caller, square) });
  if (decoder === 'sharp') return bySharp();
  const native = jpegCrops({ ...square, threads, ...(whole && { whole }) });
  if (typeof native === 'string') {
    if (decoder === 'auto') return bySharp();
    throw new KalmanNormError('PACKAGE_MISSING', `${caller}: the native decoder needs libjpeg-turbo (${native})`);
  }
  let others: Promise<DecodeCrop> | null = null;
  const decode: DecodeCrop = async (image, into, choose) => {
    if (await native.decode(image, into, choose)) return;
    check(decoder === 'auto', 'FILE_CORRUPT', 'expected a JPEG in grey or sRGB, which the native decoder is for');
    others ??= sharpCrops(caller, square);
    await (await others)(image, into, choose);
  };
  return { name: native.name, decode };
}
