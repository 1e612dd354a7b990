import test from 'ava';
import { type Device, DeviceRandom, gather } from '../../lib/index.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { philoxWords } from '../support/philox.js';
import type { TestRandom } from '../support/random.js';

const [count, channels, height, width] = [11, 3, 5, 7] as const;
const pixels = height * width;

interface Source {
  images: Uint8Array;
  labels: Int32Array;
  mean: Float32Array;
  indices: Int32Array;
}

function makeSource(random: TestRandom): Source {
  return {
    images: Uint8Array.from({ length: count * channels * pixels }, () => random.below(256)),
    labels: Int32Array.from({ length: count }, () => random.below(1000)),
    mean: Float32Array.from(random.uniforms([channels * pixels], 100, 150).data),
    indices: Int32Array.from({ length: 12 }, () => random.below(count)),
  };
}

function upload(device: Device, source: Source, cursor: number) {
  return {
    images: device.tensor(source.images, [count, channels, height, width]),
    labels: device.tensor(source.labels),
    mean: device.tensor(source.mean, [channels, height, width]),
    indices: device.tensor(source.indices),
    cursor: device.tensor(Int32Array.of(cursor)),
  };
}

interface Crop {
  row: number;
  column: number;
  flip: boolean;
  /** Corner and size of the square of zeros. */
  cut?: { top: number; left: number; size: number };
}

/** The batch by its definition: paste on a canvas of zeros, crop, flip, subtract the mean, scale, cut out. */
function expectedBatch(source: Source, batch: readonly number[], crops: readonly Crop[], pad: number, scale: number) {
  return batch.flatMap((image, i) => {
    const crop = crops[i]!;
    return Array.from({ length: channels * pixels }, (_, at) => {
      const [c, y, x] = [Math.floor(at / pixels), Math.floor(at / width) % height, at % width];
      const row = y + crop.row - pad;
      const column = (crop.flip ? width - 1 - x : x) + crop.column - pad;
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      const { top = 0, left = 0, size = 0 } = crop.cut ?? {};
      if (y >= top && y < top + size && x >= left && x < left + size) return 0;
      const raw = inside ? source.images[((image * channels + c) * height + row) * width + column]! : 0;
      return scale * (raw - source.mean[at]!);
    });
  });
}

eachDevice(test, 'gather: batches in the order of the indices, minus the mean, scaled', async (t, device, random) => {
  const source = makeSource(random);
  for (const cursor of [0, 1, 2]) {
    const batch = gather(upload(device, source, cursor), { batchSize: 4, scale: 1 / 128 });
    const chosen = [...source.indices.slice(cursor * 4, cursor * 4 + 4)];
    const crops = chosen.map(() => ({ row: 0, column: 0, flip: false }));
    const expected = expectedBatch(source, chosen, crops, 0, 1 / 128);
    t.deepEqual([...batch.images.shape], [4, channels, height, width]);
    closeTo(t, await batch.images.data(), expected, tolerance.elementwise, 'images');
    t.deepEqual(
      [...(await batch.labels.data())],
      chosen.map((image) => source.labels[image]!),
    );
  }
});

eachDevice(test, 'gather: crops, flips and cutouts of a random stream', async (t, device, random) => {
  const source = makeSource(random);
  const seed = random.below(2 ** 31) * 4;
  const noise = new DeviceRandom(device, seed);
  const pad = 2;
  const seen = new Set<string>();
  for (const [step, stream] of [
    [0, 0],
    [0, 1],
    [1, 0],
  ] as const) {
    if (step === 1) noise.advance();
    const size = step === 1 ? 4 : stream * 3;
    const augment = { pad, cutout: size, random: noise };
    const batch = gather(upload(device, source, 0), { batchSize: 12, augment });
    const crops = Array.from({ length: 12 }, (_, i): Crop => {
      const [a, b, c, d] = philoxWords([i, stream, step, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
      // Offsets from 0 to 2·pad - 1, as in the reference code.
      const crop = { row: Math.floor((a! / 2 ** 32) * 2 * pad), column: Math.floor((b! / 2 ** 32) * 2 * pad) };
      const [y, x] = [Math.floor(((d! >>> 16) / 2 ** 16) * height), Math.floor(((d! & 0xffff) / 2 ** 16) * width)];
      const cut = { top: y - Math.floor(size / 2), left: x - Math.floor(size / 2), size };
      return { ...crop, flip: c! >= 2 ** 31, cut };
    });
    for (const crop of crops) seen.add(JSON.stringify(crop));
    const expected = expectedBatch(source, [...source.indices], crops, pad, 1);
    closeTo(t, await batch.images.data(), expected, tolerance.elementwise, `images of step ${step}, draw ${stream}`);
  }
  t.true(seen.size > 12, 'draws differ');
});

eachDevice(test, 'gather: a part of a batch is what the whole has there', async (t, device, random) => {
  const source = makeSource(random);
  const seed = random.below(2 ** 31);
  const draw = () => ({ pad: 2, cutout: 3, random: new DeviceRandom(device, seed) });
  const whole = gather(upload(device, source, 0), { batchSize: 12, augment: draw() });
  const images = [...(await whole.images.data())];
  const labels = [...(await whole.labels.data())];
  const each = channels * pixels;
  for (const [first, size] of [
    [0, 5],
    [5, 7],
  ] as const) {
    const indices = source.indices.slice(first, first + size);
    const part = gather(upload(device, { ...source, indices }, 0), { batchSize: size, first, augment: draw() });
    t.deepEqual([...(await part.images.data())], images.slice(first * each, (first + size) * each));
    t.deepEqual([...(await part.labels.data())], labels.slice(first, first + size));
  }
  t.throws(() => gather(upload(device, source, 0), { batchSize: 2, first: -1 }), {
    code: 'INVALID_ARGUMENT',
    message: /first must not be negative, got -1/,
  } as object);
});

eachDevice(test, 'gather: an index or a cursor outside gives NaN and label -1', async (t, device, random) => {
  const source = makeSource(random);
  source.indices.set([count, -1, 3]);
  const batch = gather(upload(device, source, 0), { batchSize: 3 });
  const images = await batch.images.data();
  const each = channels * pixels;
  t.true([...images.slice(0, 2 * each)].every(Number.isNaN));
  t.true([...images.slice(2 * each)].every(Number.isFinite));
  t.deepEqual([...(await batch.labels.data())], [-1, -1, source.labels[3]!]);
  const beyond = gather(upload(device, source, 4), { batchSize: 3 });
  t.deepEqual([...(await beyond.labels.data())], [-1, -1, -1]);
});
