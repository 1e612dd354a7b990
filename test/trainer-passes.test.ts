import test from 'ava';
import {
  arraySource,
  type BatchNorm2d,
  type BatchSource,
  CifarResNet,
  Conv2d,
  type Dataset,
  GlobalAvgPool2d,
  meanImage,
  openDevice,
  perPixelMean,
  Sequential,
  Sgd,
  type SplitSource,
  splitSource,
  syntheticDataset,
  Trainer,
  type TrainerOptions,
} from '../lib/index.js';
import { DeviceImages } from '../lib/train/device-images.js';
import { bits } from './support/compare.js';
import { seeded } from './support/devices.js';

const dataset = syntheticDataset({ train: 96, test: 20, classes: 4, size: 8 });

function setUp(changes: Partial<TrainerOptions> = {}) {
  const device = openDevice('cpu', { threads: 1 });
  const model = new CifarResNet(device, { n: 1, norm: { type: 'batch' }, classes: 4, seed: 3 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.05);
  const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 16, seed: 5, ...changes });
  return { device, model, trainer };
}

test('a data set is checked when a trainer gets it: the label, its place and the classes are named', (t) => {
  const bad = (changes: object, message: RegExp, code = 'INVALID_ARGUMENT') =>
    t.throws(() => setUp({ dataset: changes as Dataset }), { code, message } as object);
  const labels = dataset.train.labels.slice();
  labels[17] = 4;
  bad({ ...dataset, train: { ...dataset.train, labels } }, /dataset\.train: labels: label 17 is 4.*4 classes/);
  bad(
    { ...dataset, test: { ...dataset.test, labels: labels.subarray(0, 3) } },
    /one label.*20 images, got 3/,
    'SHAPE_MISMATCH',
  );
  bad({ ...dataset, train: { ...dataset.train, images: new Uint8Array(5) } }, /18432 bytes, got 5/, 'SHAPE_MISMATCH');
  bad({ ...dataset, classNames: ['one'] }, /2 to 65536 classes, got 1/);
  bad({ ...dataset, height: 0 }, /96 × 3 × 0 × 8/, 'SHAPE_MISMATCH');
  bad({ ...dataset, test: { images: new Uint8Array(), labels: new Uint8Array(), count: 0 } }, /at least one image/);
  for (const nothing of [undefined, null, 5, {}, { train: null, test: null }]) bad(nothing as never, /dataset/);
});

test('arrays become a source, and what does not fit is refused', async (t) => {
  const images = Uint8Array.from({ length: 4 * 3 * 4 }, (_, i) => i);
  const source = arraySource({ images, labels: [0, 2, 1, 0], height: 2, width: 2 });
  t.deepEqual(source.classNames, ['class 0', 'class 1', 'class 2']);
  const into = new Uint8Array(24);
  await source.read(Int32Array.of(3, 1), into);
  t.deepEqual([...into], [...images.subarray(36, 48), ...images.subarray(12, 24)]);
  const size = { height: 2, width: 2, classNames: ['a', 'b'] };
  for (const label of [2, -1, 0.5, Number.NaN, 256]) {
    t.throws(() => arraySource({ ...size, images, labels: [0, label, 1, 0] }), {
      code: 'INVALID_ARGUMENT',
      message: new RegExp(`label 1 is ${label}, but there are 2 classes`),
    } as object);
  }
  const unnamed = (label: unknown) => () =>
    arraySource({ height: 2, width: 2, images, labels: [0, label, 1, 0] as number[] });
  for (const label of [4e9, Number.NaN, Number.POSITIVE_INFINITY, 0.5, -1, 1n, 'a'])
    t.throws(unnamed(label), { code: 'INVALID_ARGUMENT', message: /label 1 is / } as object, String(label));
  t.throws(() => arraySource({ ...size, images, labels: [0] }), {
    code: 'SHAPE_MISMATCH',
    message: /12 bytes, got 48/,
  } as object);
});

test('a split follows its seed, takes the same share of each class and loses nothing', async (t) => {
  await seeded(t, 'split', async (random) => {
    const labels = Array.from({ length: 200 }, (_, i) => (i < 20 ? 2 : random.below(2)));
    // An image's pixels are its number.
    const images = Uint8Array.from({ length: 200 }, (_, i) => i);
    const source = arraySource({ images, labels, channels: 1, height: 1, width: 1 });
    const numbers = async (part: BatchSource) => {
      const into = new Uint8Array(part.labels.length);
      await part.read(Int32Array.from(into.keys()), into);
      t.deepEqual(
        [...part.labels],
        Array.from(into, (i) => labels[i]!),
      );
      return [...into];
    };
    const { train, test } = splitSource(source, { validation: 0.25, seed: 1 });
    const [inTrain, inTest] = [await numbers(train), await numbers(test)];
    t.deepEqual(
      [...inTrain, ...inTest].sort((a, b) => a - b),
      [...images],
    );
    t.is(test.labels.filter((label) => label === 2).length, 5);
    t.deepEqual(await numbers(splitSource(source, { validation: 0.25, seed: 1 }).test), inTest);
    t.notDeepEqual(await numbers(splitSource(source, { validation: 0.25, seed: 2 }).test), inTest);
  });
  const lonely = arraySource({ images: new Uint8Array(3), labels: [0, 0, 1], channels: 1, height: 1, width: 1 });
  t.throws(() => splitSource(lonely), { code: 'INVALID_ARGUMENT', message: /"class 1" has a single image/ } as object);
  t.throws(() => splitSource(lonely, { validation: 1 }), {
    code: 'INVALID_ARGUMENT',
    message: /validation.*got 1/,
  } as object);
});

test('classes of many images are split, and many classes', (t) => {
  const split = (count: number, classes: number) => {
    const labels = Uint16Array.from({ length: count }, (_, i) => i % classes);
    const { train, test } = splitSource(
      arraySource({ images: new Uint8Array(count), labels, channels: 1, height: 1, width: 1 }),
    );
    return [train.labels.length, test.labels.length];
  };
  t.deepEqual(split(300_000, 2), [270_000, 30_000]);
  t.deepEqual(split(200_000, 10_000), [180_000, 20_000]); // some 20 s, when each class looked through all labels
});

test('a model that gives less than the classes, or something else, is refused by name', async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const of = (model: Sequential, accumulate = 1) => {
    const optimizer = new Sgd(device, model.namedParameters(), 0.05);
    return new Trainer({ device, model, optimizer, dataset, batchSize: 16, accumulate });
  };
  const conv = new Conv2d(device, 3, 3, 3);
  const few = new Sequential(conv, new GlobalAvgPool2d());
  const message = /\[16, 4\] for 16 images of 4 classes, got shape \[16, 3\]/;
  const code = 'SHAPE_MISMATCH';
  await t.throwsAsync(of(few).trainEpoch(1), { code, message } as object);
  await t.throwsAsync(of(few).evaluate(), { code, message } as object);
  await t.throwsAsync(of(few, 2).trainEpoch(1), { code, message: /\[8, 4\] for 8 images/ } as object);
  await t.throwsAsync(of(new Sequential(conv)).evaluate(), { code, message: /got shape \[16, 3, 6, 6\]/ } as object);
});

/** The data set behind sources that read a little later. */
function slowly(): SplitSource {
  const source = (set: Dataset['train']): BatchSource => {
    const inner = arraySource({ ...set, classNames: dataset.classNames, height: 8, width: 8 });
    return {
      ...inner,
      async read(indices, into) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        await inner.read(indices, into);
      },
    };
  };
  return { train: source(dataset.train), test: source(dataset.test) };
}

test('meanImage is the mean over all sources', async (t) => {
  const { train, test } = slowly();
  t.deepEqual(await meanImage(train, test), perPixelMean(dataset));
});

test('images that are read in pieces train to the same bits as those on the device', async (t) => {
  const results: string[] = [];
  const imageSize = 3 * 8 * 8;
  for (const changes of [
    {},
    { dataset: slowly() },
    { dataset: slowly(), imageMemory: 2 * 16 * imageSize },
    { imageMemory: 0 },
  ]) {
    const { device, model, trainer } = setUp(changes);
    for (const epoch of [1, 2]) await trainer.trainEpoch(epoch);
    const { loss, error } = await trainer.evaluate();
    const state = [...(await model.stateValues())].map(([name, { data }]) => `${name} ${bits(data as Float32Array)}`);
    results.push([loss, error, ...state].join('\n'));
    trainer.dispose();
    device.dispose();
  }
  t.is(new Set(results).size, 1);
});

test('a source that varies is read anew for each epoch, also where it would fit on the device', async (t) => {
  const { train, test: validation } = slowly();
  const epochs = { train: new Set<number | undefined>(), test: new Set<number | undefined>() };
  const watched = (source: BatchSource, part: 'train' | 'test'): BatchSource => ({
    ...source,
    varies: part === 'train',
    read: (indices, into, epoch) => {
      epochs[part].add(epoch);
      return source.read(indices, into);
    },
  });
  const sources = { train: watched(train, 'train'), test: watched(validation, 'test') };
  const { device, trainer } = setUp({ dataset: sources, mean: [0, 0, 0] });
  for (const epoch of [1, 2]) await trainer.trainEpoch(epoch);
  await trainer.evaluate();
  t.deepEqual([...epochs.train], [1, 2]);
  t.deepEqual([...epochs.test], [undefined]);
  device.dispose();
});

test('more than 256 classes: labels of two bytes', async (t) => {
  const labels = Uint16Array.from({ length: 32 }, (_, i) => i * 9);
  const images = Uint8Array.from({ length: 32 * 3 }, (_, i) => i);
  const classNames = Array.from({ length: 300 }, (_, i) => String(i));
  const source = arraySource({ images, labels, classNames, height: 1, width: 1 });
  t.true(source.labels instanceof Uint16Array);
  const device = openDevice('cpu', { threads: 1 });
  const part = new DeviceImages(device, source, { batchSize: 4, scale: 1, memory: 64 });
  await part.load(new Float32Array(3));
  await part.provide(7);
  t.deepEqual([...(await part.range(28, 4).labels.data())], [252, 261, 270, 279]);
  device.dispose();
});

test('of shared batches a process reads its own part alone', async (t) => {
  const count = 22;
  const pixels = Uint8Array.from({ length: count * 3 }, (_, i) => i * 3);
  const images = arraySource({ images: pixels, labels: [...Array(count).keys()], height: 1, width: 1 });
  const device = openDevice('cpu', { threads: 1 });
  const order = Int32Array.from({ length: count }, (_, i) => (i * 5) % count);
  const cursor = device.zeros([1], { dtype: 'int32' });
  // All on the device, or windows of two batches' parts.
  for (const memory of [count * 3, 2 * 4 * 3]) {
    for (const rank of [0, 1]) {
      const read: number[] = [];
      const source: BatchSource = {
        ...images,
        read: (indices, into, epoch) => {
          read.push(...indices);
          return images.read(indices, into, epoch);
        },
      };
      const batches = new DeviceImages(device, source, { batchSize: 8, part: { rank, size: 2 }, scale: 1, memory });
      await batches.load(new Float32Array(3));
      batches.setOrder(order, 1);
      const own = [0, 1].map((batch) => [...order.subarray(8 * batch + 4 * rank, 8 * batch + 4 * rank + 4)]);
      for (const batch of [0, 1]) {
        await batches.provide(batch);
        cursor.write(Int32Array.of(batch));
        const { images: values, labels } = batches.batch(cursor, null);
        t.deepEqual([...(await labels.data())], own[batch]);
        t.deepEqual(
          [...(await values.data())],
          own[batch]?.flatMap((i) => [9 * i, 9 * i + 3, 9 * i + 6].map((value) => value % 256)),
        );
      }
      if (memory < count * 3) t.deepEqual(read, own.flat());
      batches.dispose();
    }
  }
  device.dispose();
});

test('windows that are read while others are used, or in vain, hold what their places in the order say', async (t) => {
  await seeded(t, 'windows', async (random) => {
    const count = 40;
    const images = arraySource({
      images: Uint8Array.from({ length: count * 3 }, (_, i) => i),
      labels: [...Array(count).keys()],
      height: 1,
      width: 1,
    });
    const source: BatchSource = {
      ...images,
      async read(indices, into, epoch) {
        await new Promise((resolve) => setTimeout(resolve, random.below(4)));
        await images.read(indices, into, epoch);
      },
    };
    using device = openDevice('cpu', { threads: 1 });
    const batches = new DeviceImages(device, source, { batchSize: 4, scale: 1, memory: 2 * 4 * 3 });
    await batches.load(new Float32Array(3));
    // Epochs that end early leave a window that is being read.
    for (const ended of [1, 10, 4, 3, 10]) {
      const order = Int32Array.from({ length: count }, (_, i) => i).sort(() => random.uniform() - 0.5);
      batches.setOrder(order, 1);
      const seen: Promise<unknown>[] = [];
      for (let batch = 0; batch < ended; batch++) {
        await batches.provide(batch);
        const { images: values, labels } = batches.range((4 * batch) % 8, 4);
        seen.push(labels.data(), values.data());
      }
      const places = Array.from({ length: ended }, (_, batch) => [...order.subarray(4 * batch, 4 * batch + 4)]);
      const expected = places.flatMap((own) => [own, own.flatMap((i) => [3 * i, 3 * i + 1, 3 * i + 2])]);
      t.deepEqual(
        (await Promise.all(seen)).map((values) => [...(values as Float32Array)]),
        expected,
      );
    }
    batches.dispose();
  });
});

test('labels are smoothed in training alone', async (t) => {
  const plain = setUp({ augment: false });
  const smooth = setUp({ augment: false, smoothing: 0.5 });
  const losses = [];
  for (const { trainer } of [plain, smooth]) {
    losses.push((await trainer.evaluate()).loss);
    await trainer.trainEpoch(1);
  }
  t.is(losses[0], losses[1]);
  const weights = await Promise.all([plain, smooth].map(({ model }) => model.stateValues()));
  t.notDeepEqual(weights[0], weights[1]);
  t.throws(() => setUp({ smoothing: 1.5 }), { code: 'INVALID_ARGUMENT', message: /smoothing.*got 1\.5/ } as object);
  for (const { device } of [plain, smooth]) device.dispose();
});

test('a source that fails ends the pass with its error, and the trainer can go on', async (t) => {
  let broken = true;
  const { train, test } = slowly();
  const source: BatchSource = {
    ...train,
    read: (indices, into) => (broken ? Promise.reject(new Error('disk')) : train.read(indices, into)),
  };
  const { device, trainer } = setUp({ dataset: { train: source, test } });
  await t.throwsAsync(trainer.trainEpoch(1), { message: 'disk' });
  broken = false;
  t.is((await trainer.trainEpoch(1)).steps, 6);
  device.dispose();
});

test('a second pass that does not wait for the first is refused', async (t) => {
  const { device, trainer } = setUp();
  const first = trainer.trainEpoch(1);
  await t.throwsAsync(trainer.trainEpoch(2), { code: 'INVALID_STATE', message: /trainEpoch.*still running/ } as object);
  await t.throwsAsync(trainer.evaluate(), { code: 'INVALID_STATE' } as object);
  t.is((await first).steps, 6);
  t.is((await trainer.evaluate()).steps, 2);
  device.dispose();
});

test('evaluation leaves every module in its mode, and frozen averages stay', async (t) => {
  const { device, model, trainer } = setUp();
  const frozen = model.norm0 as BatchNorm2d;
  model.eval();
  await trainer.evaluate();
  t.true(model.modules().every(({ training }) => !training));
  model.train();
  await trainer.trainEpoch(1);
  frozen.eval();
  const before = bits((await frozen.runningMean.data()) as Float32Array);
  await trainer.evaluate();
  await trainer.trainEpoch(2);
  t.deepEqual(
    model.modules().filter(({ training }) => !training),
    [frozen],
  );
  t.is(bits((await frozen.runningMean.data()) as Float32Array), before);
  frozen.train();
  await trainer.trainEpoch(3);
  t.not(bits((await frozen.runningMean.data()) as Float32Array), before, 'the step was recorded anew');
  device.dispose();
});

test('the mean of images can be one per channel, or given', async (t) => {
  const image = perPixelMean(dataset);
  const channel = [0, 1, 2].map((c) => image.subarray(c * 64, (c + 1) * 64).reduce((a, b) => a + b, 0) / 64);
  for (const [mean, expected] of [
    ['channel', channel],
    ['image', image],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  ] as const) {
    const { device, trainer } = setUp({ mean: mean as 'channel' });
    const { normalization, input, classNames } = await trainer.describe();
    t.deepEqual(normalization, { mean: expected as number[], scale: 1 / 128 });
    t.deepEqual([input, classNames], [{ channels: 3, height: 8, width: 8 }, dataset.classNames]);
    device.dispose();
  }
  t.throws(() => setUp({ mean: [1] }), { code: 'INVALID_ARGUMENT', message: /mean must be/ } as object);
  t.throws(() => setUp({ scale: 0 }), { code: 'INVALID_ARGUMENT', message: /scale.*got 0/ } as object);
});
