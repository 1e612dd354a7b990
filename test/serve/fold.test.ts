import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  BatchChannelNorm2d,
  BatchNorm1d,
  BatchNorm2d,
  CifarResNet,
  Concat,
  Conv2d,
  type Device,
  Dropout,
  EvoNormS0,
  FilterResponseNorm2d,
  foldNormalizations,
  GroupNorm,
  Identity,
  InstanceNorm2d,
  type Layer,
  LayerNorm,
  LeakyReLU,
  Linear,
  loadModel,
  Module,
  type NormSpec,
  noGrad,
  openDevice,
  ReLU,
  Residual,
  ResNet,
  Sequential,
  saveModel,
  scope,
  type Tensor,
  type TensorData,
  Unknown,
} from '../../lib/index.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { normSpecs } from '../support/norm-specs.js';
import { SEED, TestRandom } from '../support/random.js';
import { averagedNorms, randomNetwork } from '../support/random-network.js';
import { shake } from '../support/shake.js';

type Network = Module & { forward(x: Tensor): Tensor };

/** The names of a network's layers, without those that only hold others. */
function namesOf(module: Module): string[] {
  return module
    .modules()
    .filter((each) => [...each.children()].length === 0)
    .map((each) => each.constructor.name);
}

/** Folds a network, and compares what it computed before and computes now. @returns what the folded one consists of */
async function same(
  t: ExecutionContext,
  device: Device,
  random: TestRandom,
  module: Network,
  shape: readonly number[],
): Promise<string[]> {
  shake(module, random);
  const before = namesOf(module);
  const inputs = [1, 3].map((batch) =>
    device.tensor(Float32Array.from(random.normals([batch, ...shape]).data), [batch, ...shape]),
  );
  const outputs = (network: Network) =>
    Promise.all(
      inputs.map((x) => {
        let values: Promise<TensorData> | undefined;
        scope(() => {
          values = noGrad(() => network.forward(x)).data();
        });
        return values as Promise<TensorData>;
      }),
    );
  const expected = await outputs(module.eval());
  const folded = await foldNormalizations(module.train());
  const names = namesOf(folded);
  t.true(folded.modules().every(({ training }) => !training));
  for (const [i, values] of (await outputs(folded)).entries()) {
    closeTo(t, values, expected[i]!, tolerance.block, `${before} as ${names}`, 1);
  }
  folded.dispose();
  for (const x of inputs) x.dispose();
  await device.synchronize();
  return names;
}

/** A device that counts its tensors. */
async function counted(t: ExecutionContext, body: (device: Device) => Promise<void>): Promise<void> {
  using device = openDevice('cpu', { threads: 1 });
  await body(device);
  t.is(device.memoryStats().live, 0, 'the folded network holds all that is left');
}

for (const [title, norm] of Object.entries(averagedNorms)) {
  eachDevice(test, `a convolution takes up what is right behind it: ${title}`, async (t, device, random) => {
    const [name = ''] = title.split(' ');
    const fold = (...layers: Layer[]) => same(t, device, random, new Sequential(...layers), [4, 6, 5]);
    const kinds = [{}, { bias: true }, { weightStandardization: true }, { groups: 2, weightStandardization: 0.5 }];
    for (const kind of kinds) {
      const conv = () => new Conv2d(device, 4, 6, 3, { padding: 'same', ...kind });
      const normed = (relu: boolean) => norm(device, 6, relu);
      t.deepEqual(await fold(conv(), normed(true)), ['FoldedConv2d']);
      const nothing = [new Identity(), new Dropout(device, 0.5)];
      t.deepEqual(await fold(conv(), ...nothing, new Unknown(normed(false)), new ReLU()), ['FoldedConv2d']);
      // Two in a row, of which the second has a ReLU: a third one, and what comes before the convolution, stay.
      const row = [norm(device, 4, false), conv(), normed(false), normed(true), normed(false)];
      t.deepEqual(await fold(...row), [name, 'FoldedConv2d', name]);
    }
  });
}

eachDevice(test, 'what folds in part, and what does not fold', async (t, device, random) => {
  const fold = (shape: readonly number[], ...layers: Layer[]) =>
    same(t, device, random, new Sequential(...layers), shape);
  const conv = () => new Conv2d(device, 4, 8, 3);
  const images = [4, 7, 6];
  const channelNorm = new BatchChannelNorm2d(device, 8, { groups: 4, relu: true });
  t.deepEqual(await fold(images, conv(), channelNorm), ['FoldedConv2d', 'GroupNorm']);
  const others = [
    new GroupNorm(device, 2, 8, { relu: true }),
    new LayerNorm(device, 8),
    new InstanceNorm2d(device, 8),
    new FilterResponseNorm2d(device, 8),
    new EvoNormS0(device, 8, { groups: 4 }),
  ];
  for (const norm of others) t.deepEqual(await fold(images, conv(), norm), ['Conv2d', norm.constructor.name]);
  t.deepEqual(await fold(images, conv(), new LeakyReLU(), new BatchNorm2d(device, 8)), [
    'Conv2d',
    'LeakyReLU',
    'BatchNorm2d',
  ]);
  t.deepEqual(await fold([5], new Linear(device, 5, 7), new BatchNorm1d(device, 7, { relu: true })), [
    'Linear',
    'ReLU',
  ]);
  t.deepEqual(await fold([5], new Linear(device, 5, 7, { bias: false }), new BatchNorm1d(device, 7)), ['Linear']);
  // A standardized filter is settled, with nothing behind it.
  t.deepEqual(await fold(images, new Conv2d(device, 4, 8, 3, { weightStandardization: true })), ['FoldedConv2d']);
  // A sum ends in a convolution, or it doesn't; the shortcut may be anything, and of one value a channel.
  const side = () => new Sequential(conv(), new BatchNorm2d(device, 8));
  t.deepEqual(await fold(images, new Residual(side(), side()), new ReLU()), ['FoldedConv2d', 'FoldedConv2d']);
  t.deepEqual(await fold(images, new Residual(new Sequential(side(), new ReLU()), side()), new ReLU()), [
    'ReLU',
    'FoldedConv2d',
    'FoldedConv2d',
  ]);
  t.deepEqual(await fold(images, new Concat(side(), new Sequential(conv(), new ReLU()))), [
    'FoldedConv2d',
    'FoldedConv2d',
  ]);
  t.deepEqual(await fold(images, new Identity()), ['Identity']);
});

test('random networks of the public blocks compute the same when they are folded', async (t) => {
  const random = new TestRandom(t.title);
  t.log(`seed ${SEED}`);
  let taken = 0;
  for (let i = 0; i < 60; i++) {
    await counted(t, async (device) => {
      const net = randomNetwork(device, random, 3, 8);
      const averages = net.modules().filter((layer) => 'runningMean' in layer).length;
      const names = await same(t, device, random, net, [3, 8, 8]);
      taken += averages - names.filter((name) => name in averagedNorms || name === 'BatchChannelNorm2d').length;
    });
  }
  t.true(taken > 60, `${taken} normalizations were folded`);
});

const presets: NormSpec[] = [...normSpecs, { type: 'reference-kalman', splits: 2, gain: 'learned' }];
for (const norm of presets) {
  test(`CifarResNet and ResNet-18 compute the same when they are folded: ${norm.type}`, async (t) => {
    const random = new TestRandom(t.title);
    const stays = (names: readonly string[]) => names.filter((name) => name in averagedNorms).length;
    await counted(t, async (device) => {
      const net = new CifarResNet(device, {
        n: 2,
        norm,
        classes: 5,
        weightStandardization: norm.type === 'kalman',
        seed: 1,
      });
      const averages = norm.type in { batch: 1, 'sync-batch': 1, 'batch-renorm': 1, kalman: 1, 'reference-kalman': 1 };
      const names = await same(t, device, random, net, [3, 16, 16]);
      // Those before a convolution: the first of every block but the first, and the last one, behind a sum.
      t.is(stays(names), averages ? 6 : 0);
      t.is(names.includes('Conv2d'), !averages && norm.type !== 'batch-channel');
      if (norm.type === 'reference-kalman') return;
      const small = new ResNet(device, { depth: 18, norm, width: 16, classes: 5, seed: 1 });
      t.is(stays(await same(t, device, random, small, [3, 32, 32])), 0);
    });
  });
}

test('a network of somebody else stays as it is, and so do layers that extend ours', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const random = new TestRandom(t.title);
  class Doubled extends Conv2d {
    override forward(x: Tensor): Tensor {
      return super.forward(x);
    }
  }
  const row = new Sequential(new Doubled(device, 3, 4, 3), new BatchNorm2d(device, 4));
  t.deepEqual(await same(t, device, random, row, [3, 5, 5]), ['Doubled', 'BatchNorm2d']);
  class Own extends Module {
    readonly conv = new Conv2d(device, 3, 4, 3);
    readonly norm = new BatchNorm2d(device, 4);
    forward(x: Tensor): Tensor {
      return this.norm.forward(this.conv.forward(x));
    }
  }
  const own = new Own();
  t.is(await foldNormalizations(own), own);
  t.false(own.training);
  // Averages that float32 can't fold are left to the normalization, which gives what it always gave.
  const net = new Sequential(new Conv2d(device, 3, 4, 3), new BatchNorm2d(device, 4));
  (net.layers[1] as BatchNorm2d).runningMean.write(Float32Array.of(0, Number.NaN, 0, 0));
  t.deepEqual(namesOf(await foldNormalizations(net)), ['Conv2d', 'BatchNorm2d']);
  for (const wrong of [null, new Map(), 5, new (class extends Module {})()]) {
    await t.throwsAsync(foldNormalizations(wrong as never), {
      code: 'INVALID_ARGUMENT',
      message: /^foldNormalizations: /,
    } as object);
  }
});

eachDevice(test, 'loadModel with fold: true answers as without', async (t, device, random) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-fold-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'model.safetensors');
  const net = new CifarResNet(device, { n: 1, norm: { type: 'kalman' }, weightStandardization: true });
  shake(net, random);
  await saveModel(path, net, { input: { channels: 3, height: 16, width: 16 } });
  const sample = Float32Array.from(random.normals([3, 16, 16]).data);
  const [plain, folded] = await Promise.all([false, true].map((fold) => loadModel(path, { device, fold })));
  closeTo(t, await folded!.predict(sample), await plain!.predict(sample), tolerance.block, 'logits', 1);
  t.is(folded!.outputs, 10);
  for (const model of [plain, folded]) await model!.dispose();
  await t.throwsAsync(loadModel(path, { device, fold: 1 as never }), {
    code: 'INVALID_ARGUMENT',
    message: /fold must be/,
  } as object);
});
