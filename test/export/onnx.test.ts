import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  AdaptiveAvgPool2d,
  AvgPool2d,
  BatchChannelNorm2d,
  BatchNorm1d,
  BatchNorm2d,
  BatchRenorm2d,
  CifarResNet,
  Concat,
  Conv2d,
  type Device,
  Dropout,
  EvoNormS0,
  type ExportOnnxOptions,
  exportOnnx,
  FilterResponseNorm2d,
  Flatten,
  GELU,
  GlobalAvgPool2d,
  GroupKalmanNorm2d,
  GroupNorm,
  Identity,
  InstanceNorm2d,
  KalmanNorm2d,
  type Layer,
  LayerNorm,
  LeakyReLU,
  Linear,
  LogSoftmax,
  MaxPool2d,
  type Module,
  MovingAverageBatchNorm2d,
  normalizeImages,
  openDevice,
  ReferenceKalmanNorm2d,
  ReLU,
  Residual,
  ResNet,
  ScaledAffine2d,
  Sequential,
  Sigmoid,
  SiLU,
  Softmax,
  SyncBatchNorm2d,
  serializeOnnx,
  Tanh,
  type Tensor,
  Unknown,
} from '../../lib/index.js';
import { eachDevice, seeded } from '../support/devices.js';
import { normSpecs } from '../support/norm-specs.js';
import { runOnnx } from '../support/onnx-runtime.js';
import type { TestRandom } from '../support/random.js';
import { shake } from '../support/shake.js';

/**
 * ONNX Runtime is the oracle. Both sum in float32, in other orders. Of the largest value, where it is above 1: random averages let networks grow.
 */
const TOLERANCE = 1e-4;

/** Compares the network's inference with that of the file, at two sizes of the batch. */
async function same(
  t: ExecutionContext,
  device: Device,
  random: TestRandom,
  module: Module & { forward(x: Tensor): Tensor },
  shape: readonly number[],
  options: ExportOnnxOptions = {},
): Promise<void> {
  shake(module, random);
  const model = await serializeOnnx(module, { shape, ...options });
  t.true(
    module.modules().every(({ training }) => training),
    'the network stays in training mode',
  );
  module.eval();
  for (const batch of [1, 3]) {
    const sizes = [batch, ...shape];
    const values = Float32Array.from(random.normals(sizes).data);
    const y = module.forward(device.tensor(values, sizes));
    const [ours, theirs] = [await y.data(), await runOnnx(model, values, sizes)];
    t.deepEqual(theirs.shape, [...y.shape]);
    const worst = Math.max(...Array.from(ours, (value, i) => Math.abs(value - (theirs.data[i] as number))));
    const largest = Math.max(1, ...Array.from(ours, Math.abs));
    t.true(worst < TOLERANCE * largest, `${module.constructor.name}: off by ${worst} of ${largest}`);
  }
  module.dispose();
}

const images = [8, 6, 5] as const;
const layers: Record<string, (device: Device) => [Layer, readonly number[]]> = {
  'Conv2d, stride 2, same': (d) => [new Conv2d(d, 8, 4, 3, { stride: 2, padding: 'same' }), images],
  'Conv2d, even size, stride 2, same': (d) => [new Conv2d(d, 3, 4, 3, { stride: 2, padding: 'same' }), [3, 8, 8]],
  'Conv2d, bias, four pads, steps': (d) => [
    new Conv2d(d, 8, 4, 2, { stride: [1, 2], padding: [1, 2, 3, 0], bias: true }),
    images,
  ],
  'Conv2d, dilation, groups': (d) => [
    new Conv2d(d, 8, 12, 3, { padding: 'same', dilation: [2, 1], groups: 4, bias: true }),
    images,
  ],
  'Conv2d, standardized': (d) => [new Conv2d(d, 8, 4, 3, { padding: 1, weightStandardization: true }), images],
  'Conv2d, centered': (d) => [new Conv2d(d, 8, 4, 3, { weightStandardization: 'centered' }), images],
  'Conv2d, standardized to a norm': (d) => [new Conv2d(d, 8, 4, 3, { weightStandardization: 0.7 }), images],
  Linear: (d) => [new Linear(d, 7, 5), [7]],
  'Linear without bias': (d) => [new Linear(d, 7, 5, { bias: false }), [7]],
  BatchNorm2d: (d) => [new BatchNorm2d(d, 8, { epsilon: 1e-3 }), images],
  'BatchNorm2d without affine, ReLU': (d) => [new BatchNorm2d(d, 8, { affine: false, relu: true }), images],
  BatchNorm1d: (d) => [new BatchNorm1d(d, 7, { relu: true }), [7]],
  MovingAverageBatchNorm2d: (d) => [new MovingAverageBatchNorm2d(d, 8, { relu: true }), images],
  ScaledAffine2d: (d) => [new ScaledAffine2d(d, 8, { factor: 0.4, relu: true }), images],
  GroupKalmanNorm2d: (d) => [new GroupKalmanNorm2d(d, 8, { groups: 2, relu: true }), images],
  SyncBatchNorm2d: (d) => [new SyncBatchNorm2d(d, 8, { relu: true }), images],
  BatchRenorm2d: (d) => [new BatchRenorm2d(d, 8, { relu: true }), images],
  BatchChannelNorm2d: (d) => [new BatchChannelNorm2d(d, 8, { groups: 4, relu: true }), images],
  KalmanNorm2d: (d) => [new KalmanNorm2d(d, 8, { relu: true }), images],
  ReferenceKalmanNorm2d: (d) => [new ReferenceKalmanNorm2d(d, 8, { gain: 'learned' }), images],
  GroupNorm: (d) => [new GroupNorm(d, 4, 8, { relu: true }), images],
  'GroupNorm of vectors': (d) => [new GroupNorm(d, 2, 8), [8]],
  'GroupNorm without affine': (d) => [new GroupNorm(d, 2, 8, { affine: false, epsilon: 1e-2 }), images],
  LayerNorm: (d) => [new LayerNorm(d, 8, { relu: true }), images],
  InstanceNorm2d: (d) => [new InstanceNorm2d(d, 8), images],
  FilterResponseNorm2d: (d) => [new FilterResponseNorm2d(d, 8), images],
  EvoNormS0: (d) => [new EvoNormS0(d, 8, { groups: 4 }), images],
  ReLU: () => [new ReLU(), images],
  LeakyReLU: () => [new LeakyReLU(0.2), images],
  GELU: () => [new GELU(), images],
  SiLU: () => [new SiLU(), images],
  Sigmoid: () => [new Sigmoid(), images],
  Tanh: () => [new Tanh(), [7]],
  Softmax: () => [new Softmax(-1), images],
  LogSoftmax: () => [new LogSoftmax(), [7]],
  'Identity, Dropout, Unknown': (d) => [
    new Sequential(new Identity(), new Dropout(d, 0.5), new Unknown(new ReLU())),
    images,
  ],
  AvgPool2d: () => [new AvgPool2d(2), images],
  GlobalAvgPool2d: () => [new GlobalAvgPool2d(), images],
  'AdaptiveAvgPool2d to 1': () => [new AdaptiveAvgPool2d(), images],
  'AdaptiveAvgPool2d to 3': () => [new AdaptiveAvgPool2d(3), [8, 6, 6]],
  MaxPool2d: () => [new MaxPool2d([3, 2], { stride: [2, 1], padding: 1 }), images],
  Flatten: (d) => [new Sequential(new Flatten(), new Linear(d, 8 * 6 * 5, 3)), images],
  'Residual, Concat': (d) => [
    new Residual(
      new Concat(new Conv2d(d, 8, 2, 1), new Sequential(new Conv2d(d, 8, 4, 3, { padding: 'same' }), new ReLU())),
      new Conv2d(d, 8, 6, 1),
    ),
    images,
  ],
  // A sum that broadcasts, as in squeeze and excitation.
  'Residual of vectors': (d) => [
    new Residual(new Sequential(new AdaptiveAvgPool2d(), new Conv2d(d, 8, 8, 1), new Sigmoid())),
    images,
  ],
};

for (const [title, make] of Object.entries(layers)) {
  eachDevice(test, `ONNX: ${title}`, async (t, device, random) => {
    const [layer, shape] = make(device);
    // Values of all signs and sizes; and a layer without parameters has no device.
    await same(t, device, random, new Sequential(new BatchNorm2d(device, shape[0] as number), layer), shape);
  });
}

for (const norm of [...normSpecs, { type: 'reference-kalman', gain: 0.1 }, { type: 'normalizer-free' }] as const) {
  eachDevice(test, `ONNX: CifarResNet with ${norm.type}`, async (t, device, random) => {
    for (const weightStandardization of [false, true]) {
      const net = new CifarResNet(device, { n: 1, norm, weightStandardization, classes: 7, seed: random.below(1000) });
      await same(t, device, random, net, [3, 16, 16]);
    }
  });
}

for (const [depth, norm] of [
  [18, { type: 'kalman', splits: 2 }],
  [50, { type: 'batch' }],
] as const) {
  test(`ONNX: ResNet-${depth} with ${norm.type}`, async (t) => {
    await seeded(t, `ResNet-${depth}`, async (random) => {
      const device = openDevice('cpu', { threads: 1 });
      const net = new ResNet(device, { depth, norm, width: 16, classes: 7, seed: random.below(1000) });
      await same(t, device, random, net, [3, 32, 40]);
      await device.dispose();
    });
  });
}

/** A network of layers that fit each other, drawn at random. */
function drawn(device: Device, random: TestRandom): [Sequential, readonly number[]] {
  const size = 5 + random.below(8);
  const layers: Layer[] = [];
  let channels = 4 * (1 + random.below(3));
  const start = channels;
  for (let i = 0; i < 6; i++) {
    const pick = <T>(...choices: T[]): T => choices[random.below(choices.length)] as T;
    const width = 4 * (1 + random.below(3));
    const conv = (to: number, stride: number) =>
      new Conv2d(device, channels, to, pick(1, 3, 5), {
        stride,
        padding: 'same',
        groups: pick(1, 4),
        bias: pick(true, false),
        weightStandardization: pick(true, false),
      });
    const relu = pick(true, false);
    const norm = () =>
      pick<() => Layer>(
        () => new BatchNorm2d(device, channels, { relu }),
        () => new KalmanNorm2d(device, channels, { relu }),
        () => new GroupNorm(device, 4, channels, { relu }),
        () => new LayerNorm(device, channels, { relu }),
        () => new BatchChannelNorm2d(device, channels, { relu, groups: 2 }),
        () => new EvoNormS0(device, channels, { groups: 2 }),
      )();
    const activation = () => pick<Layer>(new ReLU(), new LeakyReLU(0.1), new GELU(), new SiLU(), new Tanh());
    if (pick(true, false)) {
      layers.push(new Residual(new Sequential(norm(), activation(), conv(channels, 1))));
    } else {
      layers.push(conv(width, pick(1, 2)));
      channels = width;
      layers.push(norm(), activation());
    }
  }
  layers.push(new GlobalAvgPool2d(), new Linear(device, channels, 5));
  return [new Sequential(...layers), [start, size, size + 1]];
}

eachDevice(test, 'ONNX: networks drawn at random', async (t, device, random) => {
  for (let i = 0; i < 12; i++) await same(t, device, random, ...drawn(device, random));
});

test('ONNX: a file for pixels normalizes them, and has names and metadata', async (t) => {
  await seeded(t, 'pixels', async (random) => {
    const device = openDevice('cpu', { threads: 1 });
    const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-onnx-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const net = new CifarResNet(device, { n: 1, norm: { type: 'kalman' }, classes: 3 }).eval();
    const input = { channels: 3, height: 8, width: 8 };
    for (const mean of [[1, 2, 3], Float32Array.from(random.uniforms([3, 8, 8], 0, 255).data)]) {
      const about = { input, normalization: { mean, scale: [0.01, 0.02, 0.03] }, classNames: ['a', 'ü', '"'] };
      const path = join(folder, 'model.onnx');
      await writeFile(path, 'an older file');
      await exportOnnx(path, net, { ...about, pixels: true });
      const pixels = Uint8Array.from({ length: 2 * 3 * 64 }, () => random.below(256));
      const ours = await net.forward(device.tensor(normalizeImages(pixels, about), [2, 3, 8, 8])).data();
      const file = new Uint8Array(await readFile(path));
      const theirs = await runOnnx(file, Float32Array.from(pixels), [2, 3, 8, 8]);
      for (const [i, value] of ours.entries()) t.true(Math.abs(value - (theirs.data[i] as number)) < TOLERANCE);
      const text = new TextDecoder().decode(file);
      t.true(text.includes(JSON.stringify(about.classNames)));
      for (const name of net.namedParameters().keys()) t.true(text.includes(name), name);
    }
    await device.dispose();
  });
});

test('ONNX: what has no place in a file is refused before anything is written', async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Conv2d(device, 3, 4, 3), new GlobalAvgPool2d());
  const refused = async (code: string, message: RegExp, module: Module, options: ExportOnnxOptions = {}) => {
    const error = await t.throwsAsync(serializeOnnx(module, options), { message });
    t.is((error as { code?: string }).code, code);
  };
  class Own extends ReLU {}
  const shape = [3, 8, 8];
  await refused('INVALID_ARGUMENT', /Own can't be expressed/, new Sequential(net, new Own()), { shape });
  await refused('INVALID_ARGUMENT', /input or shape must say the sizes/, net);
  await refused('INVALID_ARGUMENT', /got \[3, 0\]/, net, { shape: [3, 0] });
  await refused('INVALID_ARGUMENT', /input.height must be/, net, { input: { channels: 3, height: 0, width: 1 } });
  await refused('INVALID_ARGUMENT', /pixels needs a normalization/, net, { shape, pixels: true });
  await refused('INVALID_ARGUMENT', /no parameters/, new ReLU(), { shape });
  await refused('SHAPE_MISMATCH', /conv2d/, net, { shape: [4, 8, 8] });
  await refused('SHAPE_MISMATCH', /conv2d/, net, { shape: [3, 2, 2] });
  await refused('INVALID_ARGUMENT', /expected a module/, device as never, { shape });
  t.true(net.modules().every(({ training }) => training));
  await device.dispose();
});
