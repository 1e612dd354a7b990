import test, { type ExecutionContext } from 'ava';
import { native } from '../lib/addon/load.js';
import {
  Adam,
  add,
  avgPool2d,
  backward,
  batchNorm,
  CifarResNet,
  type CifarResNetOptions,
  conv2d,
  type Device,
  DeviceRandom,
  globalAvgPool,
  groupNorm,
  kalmanNorm,
  moments,
  type Optimizer,
  openDevice,
  type Precision,
  padChannels,
  relu,
  Sgd,
  scale,
  scope,
  sigmoid,
  syntheticDataset,
  type Tensor,
  Trainer,
} from '../lib/index.js';
import { bits } from './support/compare.js';
import { deviceNames, seeded } from './support/devices.js';
import type { TestRandom } from './support/random.js';

/**
 * Devices that store activations in 16 bits, against the CPU device in float32 on inputs that 16 bits hold exactly. What
 * is left are the roundings of outputs and of what lies between two launches.
 */
const kinds = deviceNames.filter((name) => name !== 'cpu');
const mantissa = { fp16: 11, bf16: 8 } as const;
const leastExponent = { fp16: -14, bf16: -126 } as const;
type Short = keyof typeof mantissa;
const precisions = Object.keys(mantissa) as Short[];

/** To the nearest number of the precision, ties to even; for numbers that aren't too large. */
function rounded(value: number, precision: Short): number {
  if (value === 0) return 0;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), leastExponent[precision]);
  const unit = 2 ** (exponent - mantissa[precision] + 1);
  const quotient = value / unit;
  const near = Math.round(quotient);
  return (Math.abs(quotient % 1) === 0.5 ? 2 * Math.round(quotient / 2) : near) * unit;
}

function eachShort(
  title: string,
  body: (t: ExecutionContext, device: Device, precision: Short, random: TestRandom) => Promise<void>,
): void {
  for (const name of kinds) {
    for (const precision of precisions) {
      test(`${title} [${name}, ${precision}]`, async (t) => {
        using device = openDevice(name, { precision });
        await seeded(t, title, (random) => body(t, device, precision, random));
      });
    }
  }
}
if (kinds.length === 0)
  test.skip('16-bit activations: there is no CUDA device, and the emulated one is not built', () => {});

type Inputs = Record<string, { shape: number[]; values: Float32Array; plain?: boolean }>;
type Run = (tensors: Record<string, Tensor>, device: Device) => Tensor;

/** Output and gradients of all inputs, for a gradient of the output that both devices get. */
async function results(device: Device, inputs: Inputs, run: Run, seed: Float32Array) {
  const { output, leaves } = scope(() => {
    const leaves = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape, values, plain }]) => [
        name,
        device.tensor(values, shape, {
          requiresGrad: true,
          format: name === 'w' ? 'filter' : plain ? 'plain' : 'activation',
        }),
      ]),
    );
    const output = run(leaves, device);
    const gradient = device.tensor(seed.slice(0, output.size), output.shape, { format: output.format });
    backward(output, gradient);
    return { output, leaves };
  });
  const gradients = Object.entries(leaves).map(async ([name, leaf]) => [name, await leaf.grad!.data()] as const);
  return { output: await output.data(), ...Object.fromEntries(await Promise.all(gradients)) } as Record<
    string,
    Float32Array
  >;
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (const [i, value] of expected.entries()) {
    difference += (actual[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-12));
}

/** 12 channels go one by one where an access takes 8; 16 don't. */
const shapes = [
  [4, 16, 6, 6],
  [4, 12, 5, 3],
  [2, 3, 7, 7],
];

/** Each with the number of roundings between input and result, forward and backward. */
const operations: {
  name: string;
  roundings: number;
  run: Run;
  extra?: (channels: number) => Record<string, number[]>;
}[] = [
  { name: 'relu', roundings: 1, run: ({ x }) => relu(x!) },
  { name: 'scale', roundings: 1, run: ({ x }) => scale(x!, 0.3) },
  { name: 'sigmoid', roundings: 2, run: ({ x }) => sigmoid(x!) },
  { name: 'add', roundings: 1, run: ({ x }) => add(x!, scale(x!, 2)) },
  { name: 'avgPool2d', roundings: 1, run: ({ x }) => avgPool2d(x!, 2) },
  { name: 'globalAvgPool', roundings: 1, run: ({ x }) => globalAvgPool(x!) },
  { name: 'padChannels', roundings: 1, run: ({ x }) => padChannels(x!, 2, 3) },
  { name: 'moments', roundings: 1, run: ({ x }) => moments(x!, 2).mean },
  {
    name: 'conv2d',
    roundings: 3,
    extra: (channels) => ({ w: [8, channels, 3, 3] }),
    run: ({ x, w }) => conv2d(x!, w!, { padding: 'same' }),
  },
  {
    name: 'batchNorm with ReLU',
    roundings: 3,
    extra: (channels) => ({ gamma: [channels], beta: [channels] }),
    run: ({ x, gamma, beta }) => batchNorm(x!, { gamma: gamma!, beta: beta! }, { splits: 2, relu: true }).output,
  },
  {
    name: 'groupNorm',
    roundings: 3,
    extra: (channels) => ({ gamma: [channels], beta: [channels] }),
    run: ({ x, gamma, beta }) => groupNorm(x!, 1, { gamma: gamma!, beta: beta! }),
  },
  {
    name: 'kalmanNorm of a first layer',
    roundings: 3,
    extra: (channels) => ({ gamma: [channels], beta: [channels] }),
    run: ({ x, gamma, beta }) => kalmanNorm(x!, null, { gamma: gamma!, beta: beta! }, { splits: 2, gain: 0.1 }).output,
  },
];

for (const { name, roundings, run, extra } of operations) {
  eachShort(`${name}: output and gradients`, async (t, device, precision, random) => {
    using cpu = openDevice('cpu', { threads: 1 });
    for (const shape of shapes) {
      const sizes = { x: shape, ...extra?.(shape[1]!) };
      const inputs: Inputs = Object.fromEntries(
        Object.entries(sizes).map(([key, size]) => {
          const values = Float32Array.from(random.normals(size).data, (value) => rounded(value, precision));
          return [key, { shape: size, values, plain: size.length === 1 }];
        }),
      );
      const seed = Float32Array.from(random.normals([4096]).data, (value) => rounded(value, precision));
      const [expected, actual] = [await results(cpu, inputs, run, seed), await results(device, inputs, run, seed)];
      // Twice the roundings: a gradient has those of the way there and back.
      const allowed = 2 * roundings * 2 ** -mantissa[precision];
      for (const [key, values] of Object.entries(expected)) {
        const error = relativeError(actual[key]!, values);
        t.true(error <= allowed, `${key} of [${shape}]: error ${error}, allowed ${allowed}`);
      }
    }
  });
}

eachShort('upload and download round to the nearest', async (t, device, precision, random) => {
  const values = Float32Array.from(random.normals([2, 5, 3, 7]).data);
  // Below the least normal value of fp16 the steps stay the same, down to none.
  values.set([6.2e-5, -4e-5, 3.1e-6, -1.5 * 2 ** -24, 2 ** -25, 1.1 * 2 ** -25]);
  const tensor = device.tensor(values, [2, 5, 3, 7]);
  t.deepEqual(
    await tensor.data(),
    values.map((value) => rounded(value, precision)),
  );
  const half = device.full([1, 8, 2, 2], 1 / 3);
  t.is((await half.data())[5], Math.fround(rounded(1 / 3, precision)));
  t.is(device.memoryStats().live, 2);
});

eachShort('the memory of activations is half', async (t, device) => {
  const before = device.memoryStats().inUse;
  device.zeros([8, 64, 16, 16]);
  t.is(device.memoryStats().inUse - before, 8 * 64 * 16 * 16 * 2);
});

eachShort("a filter's rounded values follow whatever writes it", async (t, device, _precision, random) => {
  const shape = [4, 8, 3, 3];
  const normals = (size: readonly number[]) => Float32Array.from(random.normals(size).data);
  const values = () => normals(shape);
  const x = device.tensor(normals([2, 8, 5, 5]), [2, 8, 5, 5]);
  const w = device.tensor(values(), shape, { format: 'filter', requiresGrad: true });
  const other = device.tensor(values(), shape, { format: 'filter' });
  const step = (optimizer: Optimizer) => {
    w.zeroGrad();
    backward(conv2d(x, w), device.ones([2, 4, 3, 3]));
    optimizer.step();
  };
  using sgd = new Sgd(device, [w], 0.1, { nesterov: true });
  using adam = new Adam(device, [w], 0.1);
  scope(() => step(sgd));
  const { program } = device.record(() => scope(() => step(sgd)));
  const writers: Record<string, () => void> = {
    upload() {},
    write: () => w.write(values()),
    fill: () => w.fill(1 / 3),
    copyFrom: () => w.copyFrom(other),
    addInto: () => native.addInto({ target: w.handle, other: other.handle }),
    sgd: () => step(sgd),
    adam: () => step(adam),
    replay: () => program.run(2),
    clip: () => native.clipValue({ gradients: [w.handle], limit: 0.25 }),
  };
  for (const [name, write] of Object.entries(writers)) {
    write();
    // A copy that no upload made has no rounded values: they are made where they are used.
    const fresh = device.zeros(shape, { format: 'filter' });
    native.addInto({ target: fresh.handle, other: w.handle });
    t.deepEqual(await conv2d(x, w).data(), await conv2d(x, fresh).data(), name);
  }
  program.dispose();
});

const dataset = syntheticDataset({ train: 32, test: 8, classes: 4 });

const trained: Readonly<Record<string, CifarResNetOptions>> = {
  'batch normalization': { norm: { type: 'batch', splits: 8 } },
  "the reference's filter": { norm: { type: 'reference-kalman', splits: 8, gain: 0.1 } },
  "today's filter, closed form": { norm: { type: 'kalman', splits: 8 } },
  "today's filter": {
    norm: { type: 'kalman', splits: 8, transitionGradient: 'observed' },
    weightStandardization: true,
  },
};
for (const [name, options] of Object.entries(trained)) {
  eachShort(`training: eager and replayed give identical bits, and learn: ${name}`, async (t, device, precision) => {
    const train = async (eager: boolean) => {
      using own = openDevice(device.name, { precision: precision as Precision });
      const model = new CifarResNet(own, { ...options, n: 1, classes: 4, seed: 3 });
      const optimizer = new Sgd(own, model.namedParameters(), 0.05, { weightDecay: 2e-4 });
      const trainer = new Trainer({ device: own, model, optimizer, dataset, batchSize: 16, seed: 5, eager });
      const losses: number[] = [];
      for (let epoch = 1; epoch <= 4; epoch++) losses.push((await trainer.trainEpoch(epoch)).loss);
      const values = [...(await model.stateValues())].map(
        ([name, { data }]) => `${name} ${bits(data as Float32Array)}`,
      );
      trainer.dispose();
      return { losses, values };
    };
    const [eager, replayed] = [await train(true), await train(false)];
    t.deepEqual(replayed, eager);
    t.true(eager.losses.at(-1)! < eager.losses[0]!, `losses ${eager.losses}`);
  });
}

eachShort('generators draw the same noise, whatever the precision', async (t, device, precision) => {
  using cpu = openDevice('cpu', { threads: 1 });
  const draw = (on: Device) => {
    const noise = new DeviceRandom(on, 7);
    const x = on.zeros([6, 5, 4, 4]);
    const { output } = kalmanNorm(x, null, { gamma: null, beta: null }, { splits: 2, gain: 0.1, sample: noise });
    return output.data() as Promise<Float32Array>;
  };
  const [expected, actual] = [await draw(cpu), await draw(device)];
  const error = relativeError(actual, expected);
  t.true(error <= 2 ** -mantissa[precision], `error ${error}`);
});

eachShort("filters' gradients stay in 16 bits until they are added, and lose nothing", async (t, device, _, random) => {
  const same = { shape: [5, 5, 3, 3], options: { padding: 1 } };
  const grouped = { shape: [6, 1, 3, 3], options: { padding: 1, groups: 3 } };
  for (const { shape, options } of [same, grouped]) {
    const [outputs = 0, inputs = 0] = shape;
    const channels = inputs * (options === grouped.options ? 3 : 1);
    // Of quarters, so that sums of gradients are exact in float32 in whatever order they are formed.
    const values = [[3, channels, 6, 7], shape, [3, outputs, 6, 7]].map((size) =>
      Float32Array.from(random.normals(size).data, (value) => Math.round(4 * value) / 4),
    ) as [Float32Array, Float32Array, Float32Array];
    /** Gradients of one backward and of two: of a filter, or of what a filter is copied to, whose gradient is widened. */
    const gradients = async (copied: boolean, twice: boolean) => {
      const w = device.tensor(values[1], shape, { format: 'filter', requiresGrad: true });
      const found: string[] = [];
      for (let i = 0; i < 2; i++) {
        scope(() => {
          const x = device.tensor(values[0], [3, channels, 6, 7]);
          const filter = copied ? scale(w, 1) : w;
          const once = conv2d(x, filter, options);
          const output = twice ? conv2d(once, filter, options) : once;
          backward(output, device.tensor(values[2], [3, outputs, 6, 7]));
        });
        found.push(bits((await w.grad?.data()) as Float32Array));
      }
      return found;
    };
    for (const twice of options === same.options ? [false, true] : [false]) {
      t.deepEqual(await gradients(false, twice), await gradients(true, twice), `${shape}, twice: ${twice}`);
    }
  }
});
