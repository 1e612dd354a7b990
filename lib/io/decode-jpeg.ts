import { createRequire } from 'node:module';
import { join } from 'node:path';
import { addonFolder, buildCommand } from '../addon/load.js';
import { check } from '../errors.js';
import type { CropSize, DecodeCrop } from './crop.js';

/** What native/jpeg/addon.cpp exports. */
interface JpegAddon {
  readonly JpegPool: new (
    threads: number,
  ) => {
    decode(
      image: string | Uint8Array,
      into: Uint8Array,
      size: number,
      choose: (width: number, height: number) => readonly [left: number, top: number, width: number, height: number],
      beyond: boolean,
      whole: boolean,
    ): Promise<boolean>;
  };
  /** Of libjpeg-turbo. */
  readonly version: string;
}

const ADDON = join(addonFolder, 'kalman_norm_jpeg.node');
const remedy = `on Debian: apt-get install libjpeg62-turbo-dev, then ${buildCommand}`;

/** Decodes as {@link DecodeCrop}, but refuses, by `false`, what is for other decoders. @internal */
export type DecodeJpeg = (...image: Parameters<DecodeCrop>) => Promise<boolean>;

/**
 * Decodes squares out of JPEGs by libjpeg-turbo, in threads of its own: rows below a part aren't read, columns beside it not
 * transformed, and a part of twice the size that is wanted, or more, is decoded at a half, a quarter or an eighth of its
 * size. Files of other formats, in CMYK or with a colour profile other than sRGB's are for other decoders.
 *
 * @param options.threads that decode, at most; they end with the decoder
 * @param options.whole look for damage below the part, too
 * @returns the decoder with its name, or why there is none, and the remedy
 * @internal
 */
export function jpegCrops({
  size,
  shorter,
  threads,
  whole = false,
  maxPixels = Infinity,
}: CropSize & { readonly threads: number; readonly whole?: boolean }): { name: string; decode: DecodeJpeg } | string {
  let addon: JpegAddon;
  try {
    addon = createRequire(import.meta.url)(ADDON) as JpegAddon;
  } catch (error) {
    return `${remedy}: ${(error as Error).message.split('\n')[0]}`;
  }
  const pool = new addon.JpegPool(threads);
  const checkSize = (width: number, height: number) =>
    check(
      width * height <= maxPixels,
      'INVALID_ARGUMENT',
      () => `${width} × ${height} pixels exceed the pixel limit of ${maxPixels}`,
    );
  const middle = (width: number, height: number) => {
    checkSize(width, height);
    const side = (Math.min(width, height) * size) / shorter;
    return [(width - side) / 2, (height - side) / 2, side, side] as const;
  };
  return {
    name: `libjpeg-turbo ${addon.version}`,
    decode(image, into, choose) {
      if (!choose) return pool.decode(image, into, size, middle, true, whole);
      const part = (width: number, height: number) => {
        checkSize(width, height);
        const crop = choose(width, height);
        return [crop.left, crop.top, crop.width, crop.height] as const;
      };
      return pool.decode(image, into, size, part, false, whole);
    },
  };
}
