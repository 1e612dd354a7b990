import test from 'ava';
import {
  Adam,
  AdamW,
  type Device,
  type Optimizer,
  openDevice,
  type ParameterList,
  type Program,
  Sgd,
  type Tensor,
} from '../../lib/index.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { deviceNames, eachDevice } from '../support/devices.js';
import {
  copySlots,
  copyValues,
  drawGradients,
  drawSlots,
  parametersOf,
  type Slot,
  stepWithSlopes,
} from '../support/optimizer.js';
import { TestRandom } from '../support/random.js';

const kinds: Record<string, (device: Device, parameters: ParameterList) => Optimizer> = {
  Sgd: (device, parameters) => new Sgd(device, parameters, 0.1, { weightDecay: 0.05, nesterov: true }),
  Adam: (device, parameters) => new Adam(device, parameters, 0.1, { weightDecay: 0.05 }),
  AdamW: (device, parameters) => new AdamW(device, parameters, 0.1),
};

async function bitsOf(slots: readonly Slot[], optimizer: Optimizer): Promise<string[]> {
  const weights = await Promise.all(slots.map(({ tensor }) => tensor.data()));
  return [...weights, ...[...(await optimizer.stateValues()).values()].map(({ data }) => data)].map(bits);
}

/** Steps of one optimizer, and of another that takes one, records the next and replays it, with a changing rate. */
async function eagerAndReplayed(device: Device, random: TestRandom, make: (typeof kinds)[string]) {
  const slots = drawSlots(device, random);
  const copies = copySlots(device, slots);
  using eager = make(device, parametersOf(slots));
  using replayed = make(device, parametersOf(copies));
  let program: Program | null = null;
  for (const rate of [0.1, 0.1, 0.02]) {
    drawGradients(slots, random);
    copyValues(slots, copies, 'slope');
    eager.learningRate = replayed.learningRate = rate;
    stepWithSlopes(slots, eager);
    if (program) program.run();
    else {
      stepWithSlopes(copies, replayed);
      program = device.record(() => stepWithSlopes(copies, replayed)).program;
    }
  }
  program?.dispose();
  return [await bitsOf(slots, eager), await bitsOf(copies, replayed)] as const;
}

for (const [name, make] of Object.entries(kinds)) {
  eachDevice(test, `${name}: replayed steps give the bits of eager ones`, async (t, device, random) => {
    const [eager, replayed] = await eagerAndReplayed(device, random, make);
    t.deepEqual(replayed, eager);
  });

  eachDevice(test, `${name}: goes on from its state as if it had never stopped`, async (t, device, random) => {
    const slots = drawSlots(device, random);
    using whole = make(device, parametersOf(slots));
    for (let step = 0; step < 2; step++) {
      drawGradients(slots, random);
      stepWithSlopes(slots, whole);
    }
    whole.learningRate = 0.01;
    const copies = copySlots(device, slots);
    copyValues(slots, copies, 'tensor');
    using resumed = make(device, parametersOf(copies));
    resumed.loadStateDict(await whole.stateValues());
    t.is(resumed.learningRate, Math.fround(0.01));
    for (let step = 0; step < 2; step++) {
      drawGradients(slots, random);
      copyValues(slots, copies, 'slope');
      stepWithSlopes(slots, whole);
      stepWithSlopes(copies, resumed);
    }
    t.deepEqual(await bitsOf(copies, resumed), await bitsOf(slots, whole));
  });

  for (const precision of ['fp16', 'bf16'] as const) {
    if (!deviceNames.includes('cuda-emulated')) continue;
    test(`${name}: the master weights of ${precision} take the same step`, async (t) => {
      const random = new TestRandom(`${name} ${precision}`);
      using device = openDevice('cuda-emulated', { precision });
      const [eager, replayed] = await eagerAndReplayed(device, random, make);
      t.deepEqual(replayed, eager);
    });
  }
}

const ones = (device: Device) => device.ones([2, 1], { requiresGrad: true });

eachDevice(test, 'groups have rates and decays of their own, which the learning rate moves', async (t, device) => {
  const [a, b, c] = [ones(device), ones(device), ones(device)] as const;
  using optimizer = new Sgd(
    device,
    [
      { parameters: [a] },
      { parameters: new Map([['head', b]]), learningRate: 0.4 },
      { parameters: [c], weightDecay: 0.5 },
    ],
    0.1,
    { momentum: 0, weightDecay: 0.25, decays: (name) => name === 'head' },
  );
  t.deepEqual([...optimizer.stateDict().keys()], ['learningRate', 'momentum.0.0', 'momentum.head', 'momentum.2.0']);
  let expected: [number, number, number] = [1, 1, 1];
  for (const rate of [0.1, 0.05]) {
    optimizer.learningRate = rate;
    for (const tensor of [a, b, c]) tensor.grad ??= device.ones([2, 1]).keep();
    optimizer.step();
    const [x, y, z] = expected;
    expected = [x - rate, y - 4 * rate * (1 + 0.25 * y), z - rate * (1 + 0.5 * z)];
  }
  for (const [i, tensor] of [a, b, c].entries()) {
    closeTo(t, await tensor.data(), [expected[i]!, expected[i]!], tolerance.elementwise, `group ${i}`);
  }
  optimizer.zeroGrad();
  t.is(a.grad, null);
});

eachDevice(test, 'groups of Adam have rates and decays of their own', async (t, device) => {
  const [a, b] = [ones(device), ones(device)];
  for (const tensor of [a, b]) tensor.grad = device.full([2, 1], 3).keep();
  using optimizer = new AdamW(
    device,
    [{ parameters: [a] }, { parameters: [b], learningRate: 0.05, weightDecay: 2 }],
    0.1,
    {
      weightDecay: 0,
    },
  );
  optimizer.step();
  closeTo(t, await a.data(), [0.9, 0.9], tolerance.elementwise, 'first group');
  closeTo(t, await b.data(), [0.85, 0.85], tolerance.elementwise, 'second group');
});

test('what is no group, and a parameter in two of them, is refused', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  using other = openDevice('cpu', { threads: 1 });
  const [a, b] = [ones(device), ones(device)];
  const live = device.memoryStats().live;
  const named = (tensor: Tensor) => new Map([['w', tensor]]);
  const cases: [parameters: unknown, code: string, message: RegExp][] = [
    [[{ parameters: [a] }, { parameters: [b, a] }], 'INVALID_ARGUMENT', /Sgd: parameter 1\.1 of group 1 is in group 0/],
    [[{ parameters: named(a) }, { parameters: named(b) }], 'INVALID_ARGUMENT', /parameter w of group 1 is in group 0/],
    [[{ parameters: [a] }, null], 'INVALID_ARGUMENT', /parameters must be a map.*got undefined/],
    [[], 'INVALID_ARGUMENT', /expected parameters, got none/],
    [new Map(), 'INVALID_ARGUMENT', /expected parameters, got none/],
    [[{ parameters: [] }], 'INVALID_ARGUMENT', /expected parameters, got none/],
    [[{ parameters: a }], 'INVALID_ARGUMENT', /parameters must be a map/],
    [[{ parameters: [a], learningRate: -1 }], 'INVALID_ARGUMENT', /a group's learningRate .*got -1/],
    [[{ parameters: [a], weightDecay: Number.NaN }], 'INVALID_ARGUMENT', /a group's weightDecay .*got NaN/],
    [[ones(other)], 'DEVICE_MISMATCH', /parameter 0 is on another device/],
    [[device.tensor(Int32Array.of(1))], 'DTYPE_MISMATCH', /parameter 0 must be float32, got int32/],
  ];
  for (const [parameters, code, message] of cases) {
    t.throws(() => new Sgd(device, parameters as Tensor[], 0.1), { code, message } as object);
  }
  t.throws(() => new Sgd(device, [{ parameters: [a], learningRate: 1 }], 0), {
    code: 'INVALID_ARGUMENT',
    message: /learningRate must be positive where a group has its own, got 0/,
  });
  t.throws(() => new Sgd(device, [a], 0.1, { momentum: 0, nesterov: true }), {
    code: 'INVALID_ARGUMENT',
    message: /nesterov needs momentum/,
  });
  // Beside the integers of the last case.
  t.is(device.memoryStats().live, live + 1);
});
