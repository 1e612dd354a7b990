import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  backward,
  crossEntropy,
  type Device,
  KalmanNorm2d,
  loadTorchvisionWeights,
  openDevice,
  openModel,
  ResNet,
  type ResNetOptions,
  type SafetensorsTensor,
  Sgd,
  saveModel,
  scope,
  writeSafetensors,
} from '../../lib/index.js';
import { type NdArray, ndarray, sizes } from '../support/array.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { seeded } from '../support/devices.js';
import { normSpecs } from '../support/norm-specs.js';
import type { TestRandom } from '../support/random.js';
import { add, conv2d, globalAvgPool, linear, normalize, relu } from '../support/reference.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-resnet-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(folder, `${files++}.safetensors`);

/** The network is made of layers that have been tested on every device; the emulated one would take minutes for it. */
function onCpu(title: string, body: (t: ExecutionContext, device: Device, random: TestRandom) => Promise<void> | void) {
  test(title, async (t) => {
    const device = openDevice('cpu', { threads: 1 });
    await seeded(t, title, (random) => body(t, device, random));
    await device.dispose();
  });
}

// From torchvision's documentation of its weights.
for (const [depth, count] of [
  [18, 11_689_512],
  [34, 21_797_672],
  [50, 25_557_032],
  [101, 44_549_160],
] as const) {
  test(`ResNet-${depth}: number of parameters`, (t) => {
    using device = openDevice('cpu', { threads: 1 });
    t.is(new ResNet(device, { depth, norm: { type: 'batch' } }).parameterCount(), count);
  });
}

for (const norm of normSpecs) {
  onCpu(
    `ResNet with ${norm.type}: training lowers the loss, and the file brings it back`,
    async (t, device, random) => {
      const depth = random.below(2) === 0 ? 18 : 50;
      const net = new ResNet(device, { depth, norm, width: 16, classes: 3, zeroInitResidual: true, seed: 5 });
      // Colours are the classes; large enough for instances to have a variance in the last stage.
      const values = random.normals([6, 3, 64, 64], 0, 0.3).data.map((v, i) => v + (Math.floor(i / 4096) % 4 ? 0 : 1));
      const images = device.tensor(Float32Array.from(values), [6, 3, 64, 64]);
      const labels = device.tensor(Int32Array.of(0, 1, 2, 0, 1, 2));
      const optimizer = new Sgd(device, net.namedParameters(), 0.02);
      const step = () =>
        scope(() => {
          const { loss } = crossEntropy(net.forward(images), labels);
          backward(loss);
          optimizer.step();
          net.zeroGrad();
          return loss;
        }).item();
      const first = await step();
      let last = first;
      // Some, such as group-kalman, take longer.
      for (let i = 0; i < 40 && (i < 8 || last >= 0.9 * first); i++) last = await step();
      t.true(last < 0.9 * first, `from ${first} to ${last}`);

      const path = newPath();
      await saveModel(path, net);
      const { model } = await openModel(path, device);
      t.deepEqual(model.spec(), net.spec());
      const outputs = await Promise.all([net.eval(), model as ResNet].map((each) => each.forward(images).data()));
      t.is(bits(outputs[1] as Float32Array), bits(outputs[0] as Float32Array));
      for (const module of [net, model]) module.dispose();
    },
  );
}

onCpu('ResNet: every Kalman normalization but the first has its prior', (t, device, random) => {
  const net = new ResNet(device, { depth: 50, norm: { type: 'kalman' }, width: 16, classes: 3, seed: 5 });
  const filters = net.modules().filter((module) => module instanceof KalmanNorm2d);
  const priors: boolean[] = [];
  for (const filter of filters) filter.observer = ({ prior }) => priors.push(prior !== null);
  net.forward(device.tensor(Float32Array.from(random.normals([2, 3, 32, 32]).data), [2, 3, 32, 32])).dispose();
  t.is(filters.length, 53);
  t.deepEqual(priors, [false, ...Array(52).fill(true)]);
  net.dispose();
});

onCpu('ResNet: with zeroInitResidual the last scale of each block is 0', async (t, device) => {
  const net = new ResNet(device, { depth: 18, norm: { type: 'batch' }, width: 16, zeroInitResidual: true });
  const scales = [...net.namedParameters()].filter(([name]) => name.endsWith('gamma'));
  for (const [name, gamma] of scales) {
    t.is((await gamma.data())[0], name.endsWith('body.layers.3.gamma') ? 0 : 1, name);
  }
  net.dispose();
});

type Weights = Map<string, NdArray>;

/** torchvision's ResNet in inference, in float64, from its state dict. The first use of a name draws its values. */
class Torchvision {
  readonly weights: Weights = new Map();

  constructor(
    private readonly random: TestRandom,
    private readonly width: number,
    private readonly blocks: readonly number[],
    private readonly bottleneck: boolean,
  ) {}

  forward(images: NdArray, classes: number): NdArray {
    const { width } = this;
    let x = maxPool(relu(this.bn('bn1', this.conv('conv1', images, width, 7, 2))));
    for (const [stage, blocks] of this.blocks.entries()) {
      for (let i = 0; i < blocks; i++) {
        x = this.block(`layer${stage + 1}.${i}`, x, width * 2 ** stage, stage > 0 && i === 0 ? 2 : 1);
      }
    }
    const pooled = globalAvgPool(x);
    const features = pooled.shape[1] as number;
    const weight = this.get('fc.weight', [classes, features], 0.2);
    const columns = ndarray([features, classes]);
    for (let f = 0; f < features; f++) {
      for (let c = 0; c < classes; c++) columns.data[f * classes + c] = weight.data[c * features + f] as number;
    }
    return linear(pooled, columns, this.get('fc.bias', [classes], 1));
  }

  private block(name: string, x: NdArray, channels: number, stride: number): NdArray {
    const to = this.bottleneck ? 4 * channels : channels;
    const shapes: [channels: number, kernel: number, stride: number][] = this.bottleneck
      ? [
          [channels, 1, 1],
          [channels, 3, stride],
          [to, 1, 1],
        ]
      : [
          [channels, 3, stride],
          [to, 3, 1],
        ];
    let y = x;
    for (const [i, shape] of shapes.entries()) {
      if (i > 0) y = relu(y);
      y = this.bn(`${name}.bn${i + 1}`, this.conv(`${name}.conv${i + 1}`, y, ...shape));
    }
    const plain = stride === 1 && x.shape[1] === to;
    const side = plain ? x : this.bn(`${name}.downsample.1`, this.conv(`${name}.downsample.0`, x, to, 1, stride));
    return relu(add(y, side));
  }

  private conv(name: string, x: NdArray, to: number, kernel: number, stride: number): NdArray {
    const from = x.shape[1] as number;
    const weight = this.get(`${name}.weight`, [to, from, kernel, kernel], Math.sqrt(1 / (from * kernel ** 2)));
    const pad = (kernel - 1) / 2;
    return conv2d(x, weight, [stride, stride], [pad, pad, pad, pad]);
  }

  private bn(name: string, x: NdArray): NdArray {
    const channels = [x.shape[1] as number];
    const gamma = this.get(`${name}.weight`, channels, 0.5);
    const beta = this.get(`${name}.bias`, channels, 0.3);
    const mean = this.get(`${name}.running_mean`, channels, 0.3);
    const variance = this.get(`${name}.running_var`, channels, 'positive');
    return normalize(x, { mean, variance } as Parameters<typeof normalize>[1], { gamma, beta, epsilon: 1e-5 });
  }

  private get(name: string, shape: number[], spread: number | 'positive'): NdArray {
    const known = this.weights.get(name);
    if (known) return known;
    const drawn = spread === 'positive' ? this.random.uniforms(shape, 0.5, 2) : this.random.normals(shape, 0, spread);
    const values = ndarray(shape, Float32Array.from(drawn.data));
    this.weights.set(name, values);
    return values;
  }

  /** What its state dict holds, with the counters of batches. */
  state(): Record<string, SafetensorsTensor> {
    const state: Record<string, SafetensorsTensor> = {};
    for (const [name, { shape, data }] of this.weights) {
      state[name] = { dtype: 'F32', shape, data: Float32Array.from(data) };
      const counter = name.replace('running_var', 'num_batches_tracked');
      if (counter !== name) state[counter] = { dtype: 'I64', shape: [], data: BigInt64Array.of(7n) };
    }
    return state;
  }
}

function maxPool(x: NdArray): NdArray {
  const [n, c, h, w] = sizes(x);
  const [height, width] = [Math.ceil(h / 2), Math.ceil(w / 2)];
  const y = ndarray([n, c, height, width]);
  for (let at = 0; at < y.data.length; at++) {
    const [plane, row, column] = [Math.floor(at / (height * width)), Math.floor(at / width) % height, at % width];
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = Math.max(0, 2 * row - 1); i <= Math.min(h - 1, 2 * row + 1); i++) {
      for (let j = Math.max(0, 2 * column - 1); j <= Math.min(w - 1, 2 * column + 1); j++) {
        largest = Math.max(largest, x.data[(plane * h + i) * w + j] as number);
      }
    }
    y.data[at] = largest;
  }
  return y;
}

for (const [depth, norm] of [
  [18, { type: 'batch' }],
  [50, { type: 'kalman' }],
] as const) {
  onCpu(`ResNet-${depth} with torchvision's weights`, async (t, device, random) => {
    const blocks = depth === 18 ? [2, 2, 2, 2] : [3, 4, 6, 3];
    const theirs = new Torchvision(random, 16, blocks, depth === 50);
    const images = ndarray([2, 3, 32, 37], Float32Array.from(random.normals([2, 3, 32, 37]).data));
    const expected = theirs.forward(images, 5);
    const path = newPath();
    await writeSafetensors(path, theirs.state());
    const net = new ResNet(device, { depth, norm, width: 16, classes: 5 });
    await loadTorchvisionWeights(path, net);
    const logits = net.eval().forward(device.tensor(Float32Array.from(images.data), [2, 3, 32, 37]));
    closeTo(t, await logits.data(), expected.data, tolerance.block, 'logits');
    net.dispose();
  });
}

test("torchvision's weights that don't fit: all faults are listed, nothing is loaded", async (t) => {
  await seeded(t, 'faults', async (random) => {
    using device = openDevice('cpu', { threads: 1 });
    const theirs = new Torchvision(random, 16, [2, 2, 2, 2], false);
    theirs.forward(ndarray([1, 3, 32, 32]), 5);
    const { 'bn1.bias': _, ...state } = theirs.state();
    const path = newPath();
    await writeSafetensors(path, { ...state, surplus: state['bn1.weight'] as SafetensorsTensor });
    const net = new ResNet(device, { depth: 18, norm: { type: 'batch' }, width: 16, classes: 4 });
    const before = await net.stateValues();
    await t.throwsAsync(loadTorchvisionWeights(path, net), {
      code: 'STATE_MISMATCH',
      message:
        /^loadTorchvisionWeights: 1 missing, 1 unexpected, 2 that don't fit: bn1.bias \[16\] is missing; surplus is not/,
    });
    t.deepEqual(await net.stateValues(), before);
    for (const type of ['group', 'batch-channel', 'mabn'] as const) {
      const other = new ResNet(device, { depth: 18, norm: { type }, width: 16, classes: 5 });
      await t.throwsAsync(loadTorchvisionWeights(path, other), { code: 'INVALID_ARGUMENT', message: /got \w+Norm/ });
    }
  });
});

const wrong: [Partial<Record<keyof ResNetOptions, unknown>>, RegExp][] = [
  [{ depth: 20 }, /^ResNet: depth must be one of 18,34,50,101, got 20/],
  [{ classes: 1 }, /^ResNet: classes/],
  [{ width: 24 }, /^ResNet: width/],
  [{ zeroInitResidual: 1 }, /^ResNet: zeroInitResidual/],
  [{ norm: { type: 'reference-kalman', gain: 0.1 } }, /^ResNet: norm: expected another type/],
];
for (const [options, message] of wrong) {
  test(`ResNet: refuses ${JSON.stringify(options)}`, (t) => {
    using device = openDevice('cpu', { threads: 1 });
    const given = { depth: 18, norm: { type: 'batch' }, ...options } as ResNetOptions;
    t.throws(() => new ResNet(device, given), { code: 'INVALID_ARGUMENT', message });
  });
}
