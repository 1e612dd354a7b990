import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  AvgPool2d,
  BatchNorm2d,
  buildModel,
  CifarResNet,
  Conv2d,
  type Device,
  GlobalAvgPool2d,
  GroupNorm,
  KalmanNorm2d,
  Layer,
  Linear,
  loadModel,
  Module,
  type ModulePlan,
  type ModuleSpec,
  type NormSpec,
  normalizeImages,
  openDevice,
  openModel,
  ReferenceKalmanNorm2d,
  ReLU,
  readSafetensors,
  registerModule,
  Sequential,
  type SpecReader,
  saveModel,
  specOf,
  type Tensor,
  writeSafetensors,
} from '../lib/index.js';
import { bits } from './support/compare.js';
import { eachDevice, seeded } from './support/devices.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-model-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(folder, `${files++}.safetensors`);

const network = (device: Device) =>
  new Sequential(
    new Conv2d(device, 3, 8, 3, { padding: 'same', stride: [2, 1] }),
    new BatchNorm2d(device, 8, { splits: 2, momentum: 0.2, relu: true }),
    new AvgPool2d(2),
    new Sequential(new GroupNorm(device, 2, 8, { affine: false }), new ReLU()),
    new Conv2d(device, 8, 4, 1, { padding: [1, 2, 3, 4] }),
    new KalmanNorm2d(device, 4, { splits: 2, gain: 0.2, gate: 7, epsilon: 1e-3, correction: 0.3 }),
    new ReferenceKalmanNorm2d(device, 4, { splits: 2, gain: 'learned', guard: 7, runningStats: 'first-split' }),
    new GlobalAvgPool2d(),
    new Linear(device, 4, 3, { bias: false }),
  );

eachDevice(
  test,
  'a network of public layers comes back from its file: architecture, values, description',
  async (t, device, random) => {
    const net = network(device);
    const images = () => device.tensor(Float32Array.from(random.normals([4, 3, 8, 8]).data), [4, 3, 8, 8]);
    net.forward(images()); // running averages leave their first values
    const path = newPath();
    const mean = Float32Array.from({ length: 3 * 8 * 8 }, () => random.uniform(0, 255));
    const about = {
      classNames: ['a', 'b', '"ç\u2028'],
      input: { channels: 3, height: 8, width: 8 },
      normalization: { mean, scale: [0.5, 1 / 3, 0.1] },
    };
    await saveModel(path, net, { ...about, metadata: { epoch: 4 } });
    const { model, architecture, metadata, ...description } = await openModel(path, device);
    t.deepEqual(description, about);
    t.deepEqual({ ...metadata }, { epoch: '4' });
    t.deepEqual(architecture, net.spec());
    t.deepEqual(specOf(model), net.spec());
    t.true(model.modules().every(({ training }) => !training));
    const [saved, loaded] = [await net.stateValues(), await model.stateValues()];
    t.deepEqual([...loaded.keys()], [...saved.keys()]);
    for (const [name, { data }] of saved)
      t.is(bits(loaded.get(name)!.data as Float32Array), bits(data as Float32Array), name);
    const x = images();
    const outputs = [net.eval(), model].map((each) => (each as Layer).forward(x).data());
    const [mine, theirs] = await Promise.all(outputs);
    t.is(bits(theirs as Float32Array), bits(mine as Float32Array));
  },
);

const norms: NormSpec[] = [
  { type: 'group' },
  { type: 'batch', splits: 4, epsilon: 1e-4 },
  { type: 'kalman', splits: 2, gain: 0.3, observationGradient: 0.25 },
  {
    type: 'reference-kalman',
    splits: 2,
    gain: 'learned',
    initialGain: 0.3,
    transition: 'analytic',
    beliefPadding: 'reference',
  },
];
for (const norm of norms) {
  test(`CifarResNet with ${norm.type} normalization comes back`, async (t) => {
    using device = openDevice('cpu', { threads: 1 });
    const net = new CifarResNet(device, { n: 2, norm, classes: 3, seed: 1 });
    const path = newPath();
    await saveModel(path, net);
    const { model, classNames } = await openModel(path, device);
    t.is(classNames, undefined);
    t.deepEqual(model.spec(), net.spec());
    const x = device.ones([2, 3, 32, 32]);
    const outputs = await Promise.all([net.eval(), model as CifarResNet].map((each) => each.forward(x).data()));
    t.is(bits(outputs[0] as Float32Array), bits(outputs[1] as Float32Array));
  });
}

class Scale extends Layer {
  static readonly type = 'TestScale';
  readonly factors: Tensor;
  readonly counts: Tensor;

  constructor(
    device: Device,
    private readonly channels: number,
  ) {
    super();
    this.factors = this.parameter(() => device.ones([channels]));
    this.counts = this.buffer(() => device.full([2], 7, { dtype: 'int32' }));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    return { values: channels, build: (device) => new Scale(device, channels) };
  }

  override spec(): ModuleSpec {
    return { type: Scale.type, channels: this.channels };
  }

  override forward(x: Tensor): Tensor {
    return x;
  }
}
registerModule(Scale);

test('modules of one’s own take part; buffers of whole numbers too; 16 bits on request', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Scale(device, 3), new BatchNorm2d(device, 3));
  const scale = net.layers[0] as Scale;
  scale.factors.write(Float32Array.of(1.01, 2, 3));
  scale.counts.write(Int32Array.of(5, 2 ** 30 + 1));
  for (const [dtype, first] of [
    ['BF16', 1.0078125],
    ['F16', 1.009765625],
  ] as const) {
    const path = newPath();
    await saveModel(path, net, { dtype });
    const { tensors } = await readSafetensors(path);
    t.is(tensors.get('layers.0.factors')?.dtype, dtype);
    t.is(tensors.get('layers.1.runningMean')?.dtype, 'F32');
    const { model } = await openModel(path, device);
    const state = await model.stateValues();
    t.deepEqual([...state.get('layers.0.factors')!.data], [first, 2, 3]);
    t.deepEqual([...state.get('layers.0.counts')!.data], [5, 2 ** 30 + 1]);
  }
});

test('a module that cannot say what it is is saved as weights, and says so when it is opened', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  class Custom extends Conv2d {}
  const shared = new ReLU();
  for (const net of [
    new Sequential(new Custom(device, 1, 1, 1)),
    new Sequential(new Conv2d(device, 1, 1, 1), shared, shared),
  ]) {
    t.is(specOf(net), null);
    const path = newPath();
    await saveModel(path, net);
    await t.throwsAsync(openModel(path, device), {
      code: 'STATE_MISMATCH',
      message: /which network.*loadModel/,
    } as object);
    t.is((await loadModel(path, net)).architecture, null);
  }
  class Empty extends Module {}
  t.is(specOf(new Empty()), null);
  t.throws(() => registerModule(class extends Scale {}), {
    code: 'INVALID_ARGUMENT',
    message: /another class.*TestScale/,
  } as object);
});

test('bad specs are refused with their place, before anything is allocated', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const conv = { type: 'Conv2d', inChannels: 3, outChannels: 8, kernel: 3 };
  let deep: ModuleSpec = { type: 'ReLU' };
  for (let i = 0; i < 100; i++) deep = { type: 'Sequential', layers: [deep] };
  let wide: ModuleSpec = { type: 'ReLU' };
  for (let i = 0; i < 4; i++) wide = { type: 'Sequential', layers: Array.from({ length: 20 }, () => wide) };
  const big = { ...conv, inChannels: 2 ** 20, outChannels: 2 ** 20 };
  const cases: [spec: unknown, message: RegExp][] = [
    [null, /spec: expected an object, got null/],
    [{}, /spec\.type: expected a registered module \(.*Conv2d.*got undefined/],
    [{ type: 'constructor' }, /got "constructor"/],
    [{ type: '__proto__' }, /spec\.type/],
    [{ ...conv, kernel: 0 }, /spec\.kernel: expected a whole number.*got 0/],
    [{ ...conv, kernel: '3' }, /got "3"/],
    [{ type: 'Conv2d' }, /spec\.inChannels: .*got undefined/],
    [{ ...conv, colour: 1 }, /spec\.colour: there is no such option/],
    [{ ...conv, padding: [1, 2, 3] }, /spec\.padding.*got \[1,2,3\]/],
    [{ ...conv, stride: { a: 1 } }, /spec\.stride.*got an object/],
    [{ type: 'Sequential', layers: [] }, /at least one layer/],
    [{ type: 'Sequential', layers: [{ type: 'ReLU' }, { type: 'AvgPool2d', size: -1 }] }, /spec\.layers\.1\.size.*-1/],
    [{ type: 'GroupNorm', channels: 6, groups: 4 }, /spec\.groups: expected a divisor of the 6 channels/],
    [{ type: 'KalmanNorm2d', channels: 6, gain: 2 }, /spec\.gain.*got 2/],
    [{ type: 'BatchNorm2d', channels: 6, momentum: Number.NaN }, /spec\.momentum/],
    [
      { type: 'CifarResNet', n: 1, classes: 3, norm: { type: 'unheard-of' } },
      /spec\.norm\.type: expected one of batch/,
    ],
    [{ type: 'CifarResNet', n: 1, classes: 3, norm: { type: 'group', gain: 1 } }, /spec\.norm\.gain: there is no such/],
    [deep, /nested deeper than 64/],
    [wide, /more than 10000 modules/],
    [big, /at most 268435456 values/],
    // The first layer is fine, and isn't made either.
    [{ type: 'Sequential', layers: [conv, big] }, /at most/],
  ];
  const { live } = device.memoryStats();
  for (const [spec, message] of cases) {
    t.throws(
      () => buildModel(device, spec as ModuleSpec),
      { code: 'INVALID_ARGUMENT', message } as object,
      String(message),
    );
  }
  t.is(device.memoryStats().live, live);
});

test('damaged, foreign and later files', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Linear(device, 2, 2));
  const write = async (about: unknown, extra: object = {}) => {
    const path = newPath();
    const data = new Float32Array(4);
    const text = typeof about === 'string' ? about : JSON.stringify(about);
    await writeSafetensors(
      path,
      {
        'layers.0.weight': { dtype: 'F32', shape: [2, 2], data },
        'layers.0.bias': { dtype: 'F32', shape: [2], data: new Float32Array(2) },
        ...extra,
      },
      about === undefined ? {} : { kalman_norm: text },
    );
    return path;
  };
  const good = { version: 1, architecture: net.spec() };
  t.deepEqual((await loadModel(await write(undefined), net)).architecture, null);
  t.is((await openModel(await write(good), device)).model.parameterCount(), 6);
  const bad: [about: unknown, code: string, message: RegExp][] = [
    [{ ...good, version: 2 }, 'UNKNOWN_VERSION', /expected version 1 of the model format, got 2/],
    [{ architecture: null }, 'UNKNOWN_VERSION', /got undefined/],
    ['{', 'FILE_CORRUPT', /expected JSON/],
    ['7', 'FILE_CORRUPT', /expected an object, got 7/],
    [{ ...good, classNames: [1] }, 'FILE_CORRUPT', /classNames/],
    [{ ...good, input: { channels: 3, height: 2 } }, 'FILE_CORRUPT', /input\.width/],
    [
      { ...good, input: { channels: 1, height: 1, width: 2 }, normalization: { mean: 'tensor', scale: 1 } },
      'FILE_CORRUPT',
      /mean/,
    ],
    [{ ...good, normalization: { mean: [1], scale: 1 } }, 'FILE_CORRUPT', /needs the size/],
    [{ ...good, architecture: 5 }, 'FILE_CORRUPT', /architecture/],
    [{ ...good, architecture: { type: 'Nothing' } }, 'FILE_CORRUPT', /spec\.type.*"Nothing"/],
    [
      { ...good, architecture: { type: 'Linear', inFeatures: 1e4, outFeatures: 1e4 } },
      'FILE_CORRUPT',
      /at most 65548 values/,
    ],
    [
      { ...good, architecture: { type: 'Linear', inFeatures: 2, outFeatures: 3 } },
      'STATE_MISMATCH',
      /2 missing, 2 unexpected/,
    ],
  ];
  const { live } = device.memoryStats();
  for (const [about, code, message] of bad) {
    const path = await write(about);
    const error = await t.throwsAsync(openModel(path, device), { code, message } as object, JSON.stringify(about));
    t.true(error?.message.includes(path));
  }
  t.true(device.memoryStats().live <= live + 48, 'nothing is left behind');
});

test('all faults of a file are in one error: missing, unexpected, of another shape', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const path = newPath();
  await saveModel(path, new Sequential(new Linear(device, 2, 3), new Linear(device, 3, 2)));
  const other = new Sequential(new Linear(device, 2, 4), new ReLU(), new Linear(device, 4, 2));
  const error = await t.throwsAsync(loadModel(path, other), { code: 'STATE_MISMATCH' } as object);
  for (const part of [
    path,
    '2 missing, 2 unexpected, 2 that don’t fit'.replace('’', "'"),
    'layers.2.weight [4, 2] is missing',
    'layers.1.bias is not part',
    'layers.0.weight: expected [2, 4], got [2, 3]',
  ]) {
    t.true(error?.message.includes(part), `${part} in ${error?.message}`);
  }
});

test('what cannot be saved is refused, and the old file stays', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Linear(device, 2, 2));
  const path = newPath();
  await writeFile(path, 'old');
  const input = { channels: 3, height: 2, width: 2 };
  for (const [options, message] of [
    [{ notes: 'x' }, /no option "notes".*metadata/],
    [{ metadata: { kalman_norm: 'x' } }, /"kalman_norm" is taken/],
    [{ metadata: { notes: 'x'.repeat(1e8) } }, /at most 100000000 bytes/],
    [{ dtype: 'I8' }, /dtype.*I8/],
    [{ classNames: 'cat' }, /classNames/],
    [{ input: { ...input, height: 0.5 } }, /input\.height.*0\.5/],
    [{ normalization: { mean: [1, 2, 3], scale: 1 } }, /needs the size/],
    [{ input, normalization: { mean: [1, 2], scale: 1 } }, /3 or 12 numbers/],
    [{ input, normalization: { mean: [1, 2, Number.NaN], scale: 1 } }, /mean/],
    [{ input, normalization: { mean: [1, 2, 3], scale: [1] } }, /scale/],
  ] as const) {
    await t.throwsAsync(saveModel(path, net, options as object), { code: 'INVALID_ARGUMENT', message } as object);
  }
  t.is(await readFile(path, 'utf8'), 'old');
});

test('normalizeImages: by image and by channel', async (t) => {
  await seeded(t, 'normalize', (random) => {
    const [channels, height, width] = [2, 3, 4];
    const input = { channels, height, width };
    const pixels = Uint8Array.from({ length: 2 * 24 }, () => random.below(256));
    const image = Float32Array.from({ length: 24 }, () => random.uniform(0, 255));
    const expected = (at: (c: number, i: number) => number, scale: (c: number) => number) =>
      Array.from(pixels, (pixel, k) => {
        const i = k % 24;
        const c = i < 12 ? 0 : 1;
        return Math.fround((pixel - at(c, i)) * scale(c));
      });
    t.deepEqual(
      [...normalizeImages(pixels, { input, normalization: { mean: image, scale: 1 / 128 } })],
      expected(
        (_, i) => image[i]!,
        () => 1 / 128,
      ),
    );
    t.deepEqual(
      [...normalizeImages(pixels, { input, normalization: { mean: [100, 50], scale: [0.25, 3] } })],
      expected(
        (c) => [100, 50][c]!,
        (c) => [0.25, 3][c]!,
      ),
    );
  });
  t.throws(() => normalizeImages(new Uint8Array(3), {}), { code: 'INVALID_ARGUMENT' } as object);
  t.throws(
    () =>
      normalizeImages(new Uint8Array(3), {
        input: { channels: 1, height: 2, width: 2 },
        normalization: { mean: [1], scale: 1 },
      }),
    { code: 'SHAPE_MISMATCH', message: /got 3/ } as object,
  );
});
