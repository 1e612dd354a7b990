/** A user's program as a CommonJS module: predicts with the network that train.mts has saved. */

import { readFileSync } from 'node:fs';

import kn = require('kalman-norm');

async function main(): Promise<void> {
  const device = kn.openDevice('cpu');
  const model = await kn.loadModel('model.safetensors', { device });
  const { brightPixels } = await import('./pictures.mjs');
  const pixels = brightPixels(2);
  const classes: number[] = [];
  for (const picture of [pixels.subarray(0, model.inputSize), pixels.subarray(model.inputSize)]) {
    const logits = await model.predict(picture);
    classes.push(logits.indexOf(Math.max(...logits)));
  }
  console.log(`predicted classes ${classes.join(', ')}`);
  if (classes.join() !== '0,1') throw new Error('expected classes 0 and 1');

  const code: kn.ErrorCode = 'SHAPE_MISMATCH';
  const refusal: unknown = await model.predict(new Float32Array(1)).catch((error: unknown) => error);
  if (!(refusal instanceof kn.KalmanNormError && refusal.code === code))
    throw new Error(`expected ${code}: ${refusal}`);

  const images = { name: 'none', classNames: ['a', 'b'], labels: Uint8Array.of(0, 1), note: '' };
  const encoded = { ...images, nameOf: String, read: String, close: async () => {} };
  console.log(`JPEGs are decoded by ${(await kn.decodeImages(encoded, { decoder: 'native' })).decoder}`);

  // Where the libraries came from that are loaded now, for release:check.
  const mapped = readFileSync('/proc/self/maps', 'utf8').matchAll(/ (\/\S*\.(?:node|so)[.\d]*)$/gm);
  console.log(JSON.stringify([...new Set([...mapped].map(([, path]) => path))]));
  await model.dispose();
  await device.dispose();
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
