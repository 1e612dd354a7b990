/** A part of an image, in its pixels. */
export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** A square of `size` pixels from the middle of an image whose shorter side has `shorter` pixels. @internal */
export interface CropSize {
  readonly size: number;
  readonly shorter: number;
  /** Most pixels that the image may have. Default: 268 million */
  readonly maxPixels?: number;
}

/**
 * Decodes a square out of an image, a path or bytes, turned as its EXIF data says, into planes, [3, size, size]: the middle,
 * or, where `choose` is given, the part that it chooses, resized.
 *
 * @internal
 */
export type DecodeCrop = (
  image: string | Buffer,
  into: Uint8Array,
  choose?: (width: number, height: number) => Crop,
) => Promise<void>;
