import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import {
  BatchNorm2d,
  Conv2d,
  type Device,
  GlobalAvgPool2d,
  KalmanNorm2d,
  Linear,
  loadModel,
  type ModelDescription,
  normalizeImages,
  openDevice,
  ReLU,
  Sequential,
  saveModel,
} from '../../lib/index.js';
import { bits } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { TestRandom } from '../support/random.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-serve-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));
let files = 0;

const SHAPE = [3, 8, 8] as const;
const SIZE = 3 * 8 * 8;
const about: ModelDescription = {
  classNames: ['ant', 'bee', 'cat', 'dog'],
  input: { channels: 3, height: 8, width: 8 },
  normalization: { mean: [100, 120, 140], scale: 1 / 64 },
};

/** A network with running averages of its own, in inference mode, and its file. */
async function saved(device: Device, random: TestRandom, description: ModelDescription = about) {
  const net = new Sequential(
    new Conv2d(device, 3, 8, 3, { padding: 'same' }),
    new BatchNorm2d(device, 8, { relu: true }),
    new Conv2d(device, 8, 8, 3, { padding: 'same' }),
    new KalmanNorm2d(device, 8, { splits: 2 }),
    new ReLU(),
    new GlobalAvgPool2d(),
    new Linear(device, 8, 4),
  );
  net.forward(device.tensor(Float32Array.from(random.normals([4, ...SHAPE]).data), [4, ...SHAPE])).dispose();
  const path = join(folder, `${files++}.safetensors`);
  await saveModel(path, net.eval(), description);
  return { net, path };
}

const sample = (random: TestRandom) => Float32Array.from(random.normals([...SHAPE]).data);

eachDevice(test, 'a served network gives what the network gives, alone and in batches', async (t, device, random) => {
  const { net, path } = await saved(device, random);
  const samples = Array.from({ length: 7 }, () => sample(random));
  const oracle = async (each: Float32Array) =>
    (await net.forward(device.tensor(each, [1, ...SHAPE])).data()) as Float32Array;
  const right = await Promise.all(samples.map(oracle));
  const model = await loadModel(path, { device, maxBatch: 3 });
  t.is(model.outputs, 4);
  t.is(model.inputSize, SIZE);
  t.is(bits(await model.predict(samples[0]!)), bits(right[0]!));
  const close = (mine: Float32Array[]) => {
    for (const [i, each] of mine.entries()) {
      const error = each.map((value, k) => Math.abs(value - right[i]![k]!));
      t.true(Math.max(...error) < 1e-5, `${i}: ${each}`);
    }
  };
  close(await Promise.all(samples.map((each) => model.predict(each))));
  close(await model.predict(samples));
  const all = Float32Array.from(samples.flatMap((each) => [...each]));
  close(await model.predict(device.tensor(all, [7, ...SHAPE])));
  t.deepEqual([...model.recordedSizes].sort(), [1, 3], 'batches of 3, 3 and 1');
  t.is(model.queued, 0);
  await model.dispose();
});

eachDevice(
  test,
  'pixels, encoded images and tensors of pixels are normalized alike; classes have names',
  async (t, device, random) => {
    const { net, path } = await saved(device, random);
    const model = await loadModel(path, { device });
    const pixels = Uint8Array.from({ length: SIZE }, () => Math.floor(random.uniform(0, 256)));
    const interleaved = Uint8Array.from({ length: SIZE }, (_, i) => pixels[(i % 3) * 64 + Math.floor(i / 3)]!);
    const image = sharp(interleaved, { raw: { width: 8, height: 8, channels: 3 } });
    const logits = (await net
      .forward(device.tensor(normalizeImages(pixels, about), [1, ...SHAPE]))
      .data()) as Float32Array;
    const inputs = [
      pixels,
      await image.clone().png().toBuffer(),
      await image.clone().webp({ lossless: true }).toBuffer(),
    ];
    for (const input of inputs) t.is(bits(await model.predict(input)), bits(logits));
    t.is(bits((await model.predict(device.tensor(pixels, [1, ...SHAPE])))[0]!), bits(logits));

    const sum = logits.reduce((total, each) => total + Math.exp(each), 0);
    const best = Array.from(logits, (each, index) => ({ index, probability: Math.exp(each) / sum })).sort(
      (a, b) => b.probability - a.probability,
    );
    const classes = await model.classify(pixels, { topK: 3 });
    t.deepEqual(
      classes.map(({ index }) => index),
      best.slice(0, 3).map(({ index }) => index),
    );
    classes.forEach(({ index, name, probability }, i) => {
      t.is(name, about.classNames![index]!);
      t.true(Math.abs(probability - best[i]!.probability) < 1e-9);
    });
    t.is((await model.classify([pixels, pixels])).length, 2);
    await model.dispose();
  },
);

test('beyond maxQueue calls are OVERLOADED, and those accepted are answered', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  const { path } = await saved(device, random);
  const model = await loadModel(path, { device, maxBatch: 2, maxQueue: 5 });
  t.is(model.maxQueue, 5);
  const calls = await Promise.allSettled(Array.from({ length: 9 }, () => model.predict(sample(random))));
  t.deepEqual(
    calls.map(({ status }) => status),
    [...Array(5).fill('fulfilled'), ...Array(4).fill('rejected')],
  );
  for (const call of calls) if (call.status === 'rejected') t.is(call.reason.code, 'OVERLOADED');
  await t.throwsAsync(model.predict(Array.from({ length: 6 }, () => sample(random))), { code: 'OVERLOADED' } as object);
  t.is((await model.predict(sample(random))).length, 4);
  await model.dispose();
});

test('an aborted call leaves the queue; the others are answered', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  const { path } = await saved(device, random);
  const model = await loadModel(path, { device, maxBatch: 4, maxDelay: 1000 });
  const controller = new AbortController();
  const doomed = model.predict(sample(random), { signal: controller.signal });
  const other = model.predict(sample(random));
  setImmediate(() => controller.abort(new Error('changed my mind')));
  await t.throwsAsync(doomed, { message: 'changed my mind' });
  t.is((await other).length, 4);
  t.deepEqual([...model.recordedSizes], [1], 'the aborted sample never ran');
  await t.throwsAsync(model.predict(sample(random), { signal: controller.signal }), { message: 'changed my mind' });
  t.is(model.queued, 0);
  await model.dispose();
});

test('dispose rejects what waits, ends what runs and frees all memory', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  const { net, path } = await saved(device, random);
  net.dispose();
  const before = device.memoryStats().inUse;
  const model = await loadModel(path, { device, maxBatch: 1, maxPrograms: 1 });
  const calls = Promise.allSettled(Array.from({ length: 4 }, () => model.predict(sample(random))));
  await new Promise((resolve) => setImmediate(resolve));
  const disposal = model.dispose();
  t.is(model.dispose(), disposal);
  await disposal;
  for (const call of await calls) if (call.status === 'rejected') t.is(call.reason.code, 'DISPOSED');
  await t.throwsAsync(model.predict(sample(random)), { code: 'DISPOSED' } as object);
  await device.synchronize();
  t.true(device.memoryStats().inUse <= before);
});

test('the cache of programs is bounded', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  const { path } = await saved(device, random);
  const model = await loadModel(path, { device, maxBatch: 8, maxPrograms: 2 });
  for (const count of [2, 3, 4, 2]) await model.predict(Array.from({ length: count }, () => sample(random)));
  t.deepEqual([...model.recordedSizes], [4, 2]);
  await model.dispose();
});

test('bad inputs, options and files get typed errors', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  const { path } = await saved(device, random);
  const model = await loadModel(path, { device });
  const png = await sharp({ create: { width: 40, height: 30, channels: 3, background: '#123' } })
    .png()
    .toBuffer();
  const inputs: [input: unknown, code: string, message: RegExp][] = [
    [new Float32Array(5), 'SHAPE_MISMATCH', /192 values, \[3, 8, 8\], got 5/],
    [[new Float32Array(SIZE), new Uint8Array(0)], 'SHAPE_MISMATCH', /sample 1 .* got 0/],
    [[], 'INVALID_ARGUMENT', /at least one/],
    [null, 'DTYPE_MISMATCH', /got null/],
    ['cat.jpg', 'DTYPE_MISMATCH', /got String/],
    [device.zeros([1, 3, 8, 9]), 'SHAPE_MISMATCH', /\[N, 3, 8, 8\], got \[1, 3, 8, 9\]/],
    [Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), 'INVALID_ARGUMENT', /JPEG, PNG or WebP/],
    [Buffer.alloc(0), 'INVALID_ARGUMENT', /JPEG, PNG or WebP/],
    [png.subarray(0, png.length - 20), 'INVALID_ARGUMENT', /can't be decoded/],
  ];
  for (const [input, code, message] of inputs) {
    await t.throwsAsync(model.predict(input as Float32Array), { code, message } as object, String(message));
  }
  const nan = new Float32Array(SIZE).fill(Number.NaN);
  await t.throwsAsync(model.classify(nan), { code: 'INVALID_ARGUMENT', message: /finite/ } as object);
  await t.throwsAsync(model.classify(new Uint8Array(SIZE), { topK: 5 }), { message: /from 1 to 4, got 5/ });
  t.is(model.queued, 0);
  const small = await loadModel(path, { device, maxPixels: 100 });
  await t.throwsAsync(small.predict(png), { code: 'INVALID_ARGUMENT', message: /pixel limit/ } as object);
  await Promise.all([model.dispose(), small.dispose()]);

  for (const [options, message] of [
    [{ maxBatch: 0 }, /maxBatch .* got 0/],
    [{ maxDelay: -1 }, /maxDelay .* got -1/],
    [{ batch: 1 }, /no option "batch"/],
  ] as const) {
    await t.throwsAsync(loadModel(path, { device, ...options }), { code: 'INVALID_ARGUMENT', message } as object);
  }
  await t.throwsAsync(loadModel(path, null as never), { code: 'INVALID_ARGUMENT' } as object);
  const input = { channels: 3, height: 8, width: 8 };
  for (const [description, message] of [
    [{}, /size of the input/],
    [{ input, classNames: ['one'] }, /1 names of classes for 4 outputs/],
    [{ input: { ...input, channels: 2 } }, /can't be run/],
    [{ input: { channels: 3, height: 65536, width: 65536 } }, /at most/],
  ] as const) {
    const other = await saved(device, random, description);
    await t.throwsAsync(loadModel(other.path, { device }), { code: 'STATE_MISMATCH', message } as object);
  }
});
