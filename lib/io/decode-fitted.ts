import { openCropDecoder } from './decode-crop.js';
import { type DecodeOptions, imageDecoder } from './decode-image.js';

/**
 * As {@link imageDecoder}, of images in memory; but where libjpeg-turbo is there and a square in colour is wanted, it decodes
 * JPEGs: in threads of its own, and with little to do on the event loop, where sharp takes 0.1 ms to put its options
 * together. sharp is loaded when the first image comes that is for it, and missed then.
 *
 * @param caller for messages
 * @throws KalmanNormError `PACKAGE_MISSING` where sharp isn't installed and nothing else decodes
 * @internal
 */
export async function fittedDecoder(
  caller: string,
  options: DecodeOptions,
): Promise<(image: Buffer) => Promise<Uint8Array>> {
  const { channels, height, width, fit, maxPixels } = options;
  if (channels !== 3 || height !== width || fit !== 'cover') return imageDecoder(caller, options);
  const square = { size: width, shorter: width, ...(maxPixels && { maxPixels }) };
  const { decode } = await openCropDecoder(caller, { decoder: 'auto', whole: true, ...square });
  return async (image) => {
    const planes = new Uint8Array(channels * height * width);
    await decode(image, planes);
    return planes;
  };
}
