import { gather } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** Numbers of images that don't exist among the indices. */
  once({ device, random }) {
    const bytes = (count: number) => Uint8Array.from({ length: count }, (_, i) => (i * 37) % 256);
    const source = {
      images: device.tensor(bytes(5 * 3 * 42), [5, 3, 6, 7]),
      labels: device.tensor(Int32Array.of(3, 0, 300, 7, 1)),
      mean: device.full([3, 6, 7], 100, { format: 'plain' }),
      indices: device.tensor(Int32Array.of(0, 1, 4, 5, -1, 2)),
      cursor: device.tensor(Int32Array.of(1)),
    };
    gather(source, { batchSize: 3 });
    gather(source, { batchSize: 3, augment: { pad: 2, random } });
    gather(source, { batchSize: 3, first: 6, augment: { pad: 1, cutout: 3, random } });
  },
} satisfies Family;
