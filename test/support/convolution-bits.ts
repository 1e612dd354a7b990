/** A program: what convolutions of channels that aren't alike give, bit by bit, as one hash; and on what device. */
import { createHash } from 'node:crypto';
import { backward, conv2d, type Format, openDevice } from '../../lib/index.js';
import { TestRandom } from './random.js';

const random = new TestRandom('convolution bits');
const hash = createHash('sha256');
using device = openDevice('cpu', { threads: 2 });
const normals = (shape: readonly number[], format: Format) =>
  device.tensor(Float32Array.from(random.normals(shape).data), shape, { format, requiresGrad: true });
for (const [inputs, outputs, height, width] of [
  [16, 16, 32, 32],
  [32, 32, 11, 9],
  [32, 56, 10, 8],
  [24, 16, 11, 9],
  [40, 48, 8, 8],
  [88, 40, 5, 5],
  [40, 72, 3, 3],
] as const) {
  const x = normals([3, inputs, height, width], 'activation');
  const w = normals([outputs, inputs, 3, 3], 'filter');
  const y = conv2d(x, w, { padding: [0, 1, 2, 1] });
  hash.update((await y.data()) as Float32Array);
  backward(y, normals(y.shape, 'activation'));
  for (const { grad } of [x, w]) hash.update((await grad!.data()) as Float32Array);
}
console.log(JSON.stringify({ description: device.description, hash: hash.digest('hex') }));
