import test from 'ava';
import {
  CifarResNet,
  type Dataset,
  type NormSpec,
  openDevice,
  Sgd,
  syntheticDataset,
  Trainer,
  type TrainerOptions,
} from '../../lib/index.js';
import { bits } from '../support/compare.js';
import { deviceNames } from '../support/devices.js';

const dataset = syntheticDataset({ train: 96, test: 20, classes: 4 });

/** A small network in training; `changes` to the trainer's options. */
function setUp(norm: NormSpec, changes: Partial<TrainerOptions> = {}, data: Dataset = dataset, name = 'cpu') {
  const device = openDevice(name, { threads: 2 });
  const model = new CifarResNet(device, { n: 1, norm, classes: data.classNames.length, seed: 3 });
  const optimizer = new Sgd(device, model.namedParameters(), 0.05, { weightDecay: 2e-4 });
  const trainer = new Trainer({ device, model, optimizer, dataset: data, batchSize: 16, seed: 5, ...changes });
  const state = async () => {
    const values = await model.stateValues();
    return [...values].map(([name, { data }]) => `${name} ${bits(data as Float32Array)}`).join('\n');
  };
  return { device, model, optimizer, trainer, state };
}

const norms: Record<string, NormSpec> = {
  'split BN': { type: 'batch', splits: 8 },
  GN: { type: 'group' },
  'KN, sampled': { type: 'reference-kalman', splits: 8, gain: 0.1 },
  'KN, analytic': { type: 'reference-kalman', splits: 8, gain: 0.1, transition: 'analytic' },
  'KN, learned gain': { type: 'reference-kalman', splits: 4, gain: 'learned' },
};

const cases = deviceNames.flatMap((device) => Object.entries(norms).map(([name, norm]) => ({ device, name, norm })));
for (const { device, name, norm } of cases) {
  test(`eager and replayed training give identical bits: ${name} [${device}]`, async (t) => {
    // The emulation takes a second for a step.
    const data = device === 'cuda-emulated' ? syntheticDataset({ train: 32, test: 8, classes: 4 }) : dataset;
    const [eager, replayed] = [setUp(norm, { eager: true }, data, device), setUp(norm, {}, data, device)];
    for (const run of [eager, replayed]) {
      for (const epoch of [1, 2]) {
        run.optimizer.learningRate = 0.05 / epoch;
        const figures = await run.trainer.trainEpoch(epoch);
        t.is(figures.steps, data.train.count / 16);
      }
    }
    t.is(await replayed.state(), await eager.state());
    t.deepEqual((await replayed.trainer.evaluate()).loss, (await eager.trainer.evaluate()).loss);
    for (const run of [eager, replayed]) {
      run.trainer.dispose();
      run.device.dispose();
    }
  });
}

for (const [name, norm] of Object.entries<NormSpec>({
  BN: { type: 'batch', momentum: 0 },
  GN: { type: 'group' },
})) {
  test(`a batch in parts gives the weights of one in splits: ${name}`, async (t) => {
    const splits = norm.type === 'batch' ? { ...norm, splits: 8 } : norm;
    const [whole, parts] = [setUp(splits), setUp(norm, { accumulate: 8 })];
    // Far from 0: a ReLU's input within rounding of its kink would have a gradient in one training and none in the other.
    for (const { model } of [whole, parts]) {
      for (const [key, tensor] of model.namedParameters()) if (key.endsWith('.beta')) tensor.fill(6);
    }
    const [one, other] = [await whole.trainer.trainEpoch(1), await parts.trainer.trainEpoch(1)];
    t.is(other.error, one.error);
    t.true(Math.abs(other.loss - one.loss) < 1e-5 * one.loss, `${other.loss} and ${one.loss}`);
    const [a, b] = [await whole.model.stateValues(), await parts.model.stateValues()];
    for (const [key, { data }] of a) {
      const largest = Math.max(...Array.from(data, Math.abs));
      const off = Math.max(...Array.from(data, (value, i) => Math.abs(value - (b.get(key)?.data[i] as number))));
      // Six steps, each with a rounding of gradients that add up in another order; at most 8e-7 was seen.
      t.true(off <= 1e-5 * largest, `${key}: off by ${off} of ${largest}`);
    }
    for (const run of [whole, parts]) {
      run.trainer.dispose();
      run.device.dispose();
    }
  });
}

test('KN: a batch in parts trains as one in splits does', async (t) => {
  const one = (momentum: number) => 1 - (1 - momentum) ** (1 / 8);
  const rates = { momentum: one(0.1), correction: one(0.1), adaptation: one(0.1) };
  const [whole, parts] = [setUp({ type: 'kalman', splits: 8 }), setUp({ type: 'kalman', ...rates }, { accumulate: 8 })];
  for (const run of [whole, parts]) {
    let last = await run.trainer.trainEpoch(1);
    const first = last.loss;
    for (let epoch = 2; epoch <= 6; epoch++) last = await run.trainer.trainEpoch(epoch);
    t.true(last.loss < 0.7 * first, `loss ${first} to ${last.loss}`);
    const evaluated = await run.trainer.evaluate();
    t.true(evaluated.loss < first, `evaluated ${evaluated.loss}`);
    run.trainer.dispose();
    run.device.dispose();
  }
});

test('a batch in parts needs the memory of a part', async (t) => {
  const peak = async (accumulate: number) => {
    const { device, trainer } = setUp({ type: 'group' }, { accumulate, batchSize: 32, eager: true });
    await trainer.trainEpoch(1);
    const { peakInUse: peak } = device.memoryStats();
    trainer.dispose();
    device.dispose();
    return peak;
  };
  const [whole, parts] = [await peak(1), await peak(16)];
  t.true(parts < whole / 2, `${parts} of ${whole} bytes`);
});

test('training learns a synthetic set', async (t) => {
  const { trainer, device } = setUp({ type: 'reference-kalman', splits: 8, gain: 0.1, transition: 'analytic' });
  const first = await trainer.trainEpoch(1);
  let last = first;
  for (let epoch = 2; epoch <= 8; epoch++) last = await trainer.trainEpoch(epoch);
  t.true(last.loss < 0.6 * first.loss, `loss ${first.loss} to ${last.loss}`);
  device.dispose();
});

test('the order of samples follows seed and epoch', async (t) => {
  const losses = async (seed: number) => {
    const { trainer, device } = setUp({ type: 'group' }, { seed });
    const { loss } = await trainer.trainEpoch(1);
    device.dispose();
    return loss;
  };
  t.is(await losses(1), await losses(1));
  t.not(await losses(1), await losses(2));
});

test('augmentation: a cutout changes what is trained on, and bad options are refused', async (t) => {
  const loss = async (augment: TrainerOptions['augment']) => {
    const { trainer, device } = setUp({ type: 'group' }, { augment: augment! });
    const figures = await trainer.trainEpoch(1);
    device.dispose();
    return figures.loss;
  };
  t.is(await loss({}), await loss(true));
  t.not(await loss({ cutout: 8 }), await loss(true));
  t.is(await loss({ pad: 4, cutout: 0 }), await loss(true));
  for (const augment of [{ cutout: -1 }, { pad: 0.5 }, { cutout: Number.NaN }, 3, null]) {
    t.throws(() => setUp({ type: 'group' }, { augment: augment as object }), {
      code: 'INVALID_ARGUMENT',
      message: /Trainer: augment/,
    } as object);
  }
});

test('evaluation counts a last batch that is not full', async (t) => {
  const { trainer, device } = setUp({ type: 'group' });
  const figures = await trainer.evaluate();
  t.is(figures.steps, 2); // 16 and 4 of 20 images
  t.true(Number.isInteger(Math.round(figures.error * 20 * 1e6) / 1e6));
  device.dispose();
});

test('a loss that is not finite stops training and names epoch and step', async (t) => {
  const { trainer, optimizer, device } = setUp({ type: 'group' });
  optimizer.learningRate = 1e30;
  const error = await t.throwsAsync(trainer.trainEpoch(7), { code: 'DIVERGED' } as object);
  t.regex(error?.message ?? '', /the loss became (NaN|-?Infinity) in epoch 7, step [2-6] of 6/);
  device.dispose();
});

for (const channels of [[5], [0, 2, 3, 4, 5, 7], 'all'] as const) {
  test(`a loss that is not finite: the layer where it began, channels ${channels}`, async (t) => {
    const { trainer, model, device } = setUp({ type: 'kalman', splits: 8 });
    const [, [name, weight] = []] = [...model.namedParameters()].filter(([key]) => key.endsWith('conv1.weight'));
    const data = (await weight!.data()) as Float32Array;
    const [out, size] = [weight!.shape[0]!, weight!.size / weight!.shape[0]!];
    const poisoned = channels === 'all' ? Array.from({ length: out }, (_, channel) => channel) : channels;
    for (const channel of poisoned) data.fill(Number.NaN, channel * size, (channel + 1) * size);
    weight!.write(data);
    const error = await t.throwsAsync(trainer.trainEpoch(1), { code: 'DIVERGED' } as object);
    const layer = name!.replace('conv1.weight', 'norm2');
    const list = channels === 'all' ? 's all' : channels.length === 1 ? ' 5' : 's 0, 2, 3, 4 and 2 more';
    t.true(error?.message.endsWith(`; statistics were first not finite in ${layer}, channel${list}`), error?.message);
    device.dispose();
  });
}

test('a signal ends an epoch early', async (t) => {
  const { trainer, device } = setUp({ type: 'group' });
  const controller = new AbortController();
  const figures = await trainer.trainEpoch(1, {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  t.true(figures.steps >= 1 && figures.steps < 6);
  device.dispose();
});

test('bad sizes are refused', (t) => {
  for (const batchSize of [0, 97, 1.5]) {
    t.throws(() => setUp({ type: 'group' }, { batchSize }), {
      code: 'INVALID_ARGUMENT',
      message: /batchSize/,
    } as object);
  }
  for (const accumulate of [0, 3, 1.5]) {
    t.throws(() => setUp({ type: 'group' }, { accumulate }), {
      message: `Trainer: accumulate must be a divisor of the batch size 16, got ${accumulate}`,
    });
  }
});
