/** A program: what convolutions of channels that aren't alike give, bit by bit, as one hash; and on what device. */
import { createHash } from 'node:crypto';
import { backward, conv2d, type Format, openDevice } from '../../lib/index.js';
import { TestRandom } from './random.js';

const random = new TestRandom('convolution bits');
const hash = createHash('sha256');
using device = openDevice('cpu', { threads: 2 });
const normals = (shape: readonly number[], format: Format) =>
  device.tensor(Float32Array.from(random.normals(shape).data), shape, { format, requiresGrad: true });
// From 32 channels: with fewer the instructions that there are decide on the algorithm.
for (const [inputs, outputs] of [
  [32, 32],
  [32, 56],
  [40, 48],
  [88, 40],
] as const) {
  const x = normals([3, inputs, 11, 9], 'activation');
  const w = normals([outputs, inputs, 3, 3], 'filter');
  const y = conv2d(x, w, { padding: 'same' });
  hash.update((await y.data()) as Float32Array);
  backward(y, normals(y.shape, 'activation'));
  for (const { grad } of [x, w]) hash.update((await grad!.data()) as Float32Array);
}
console.log(JSON.stringify({ description: device.description, hash: hash.digest('hex') }));
