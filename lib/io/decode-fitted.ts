import { availableParallelism } from 'node:os';
import { type DecodeOptions, imageDecoder } from './decode-image.js';
import { jpegCrops } from './decode-jpeg.js';

/**
 * As {@link imageDecoder}, of images in memory; but where libjpeg-turbo is there and a square in colour is wanted, it decodes
 * JPEGs: in threads of its own, and with little to do on the event loop, where sharp takes 0.1 ms to put its options
 * together. sharp is loaded when the first image comes that is for it, and missed then.
 *
 * @param caller for messages
 * @internal
 */
export function fittedDecoder(caller: string, options: DecodeOptions): (image: Buffer) => Promise<Uint8Array> {
  const { channels, height, width, fit, maxPixels } = options;
  const square = channels === 3 && height === width && fit === 'cover';
  const limits = { threads: availableParallelism(), whole: true, ...(maxPixels && { maxPixels }) };
  const native = square ? jpegCrops({ size: width, shorter: width, ...limits }) : '';
  let others: ReturnType<typeof imageDecoder> | null = null;
  return async (image) => {
    if (typeof native !== 'string') {
      const planes = new Uint8Array(3 * height * width);
      if (await native.decode(image, planes)) return planes;
    }
    others ??= imageDecoder(caller, options);
    return (await others)(image);
  };
}
