import test from 'ava';
import {
  BatchNorm2d,
  backward,
  Conv2d,
  Linear,
  manualSeed,
  noGrad,
  openDevice,
  relu,
  Sgd,
  WeightAverage,
} from '../lib/index.js';
import { bits } from './support/compare.js';
import { eachDevice } from './support/devices.js';

eachDevice(test, 'layers made with defaults differ, and are the same for one seed', async (t, device) => {
  const draw = async (seed: number) => {
    manualSeed(seed);
    const layers = [new Conv2d(device, 3, 8, 3), new Conv2d(device, 3, 8, 3), new Linear(device, 4, 54)];
    return Promise.all(layers.map(async ({ weight }) => bits(await weight.data())));
  };
  const first = await draw(7);
  t.is(new Set(first).size, 3);
  t.deepEqual(await draw(7), first);
  t.not((await draw(8))[0], first[0]);
});

eachDevice(test, 'nested arrays become tensors of their shape', async (t, device, random) => {
  const matrix = device.tensor([
    [1, 2],
    [3, 4],
  ]);
  t.deepEqual([...matrix.shape], [2, 2]);
  t.deepEqual([...(await matrix.data())], [1, 2, 3, 4]);
  const { data } = random.normals([2, 3, 1, 4]);
  const nested = Array.from({ length: 2 }, (_, n) =>
    Array.from({ length: 3 }, (_, c) => [Array.from({ length: 4 }, (_, x) => data[n * 12 + c * 4 + x]!)]),
  );
  const images = device.tensor(nested);
  t.deepEqual([[...images.shape], images.format], [[2, 3, 1, 4], 'activation']);
  t.deepEqual([...(await images.data())], [...data]);
  t.deepEqual([...device.tensor([[1, 2]], [2]).shape], [2], 'a shape of its own');
});

test('values that are no numbers, and ragged arrays, are refused', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const circular: unknown[] = [];
  circular.push(circular);
  const cases: [values: unknown, code: string, message: RegExp][] = [
    [[[1, 2], [3]], 'SHAPE_MISMATCH', /values\[1\] must have 2 entries.*got 1/],
    [[[1, 2], 3], 'SHAPE_MISMATCH', /values\[1\] must be an array, got 3/],
    [[1, [2]], 'SHAPE_MISMATCH', /values\[1\] must be a number, got an array/],
    [['1'], 'INVALID_ARGUMENT', /values\[0\] must be a number, got 1/],
    [[1, undefined], 'INVALID_ARGUMENT', /values\[1\].*got undefined/],
    [[[null]], 'INVALID_ARGUMENT', /values\[0\]\[0\].*got null/],
    [circular, 'INVALID_ARGUMENT', /nested at most/],
    [5, 'INVALID_ARGUMENT', /values must be an array, got 5/],
    [null, 'INVALID_ARGUMENT', /got null/],
    [new Float64Array(2), 'DTYPE_MISMATCH', /got Float64Array/],
    [[], 'INVALID_ARGUMENT', /shape: .*\[0\]/],
  ];
  for (const [values, code, message] of cases) {
    t.throws(() => device.tensor(values as number[]), { code, message } as object, String(message));
  }
  t.throws(() => device.tensor([1], 1 as never), { code: 'INVALID_ARGUMENT', message: /shape: .*got 1/ });
});

test('asynchronous bodies are refused, and change nothing', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const x = device.tensor([1, -2]);
  x.requiresGrad = true;
  let ran = false;
  for (const [name, call] of [
    ['noGrad', noGrad],
    ['record', (body: () => unknown) => device.record(body)],
  ] as const) {
    const refusal = { code: 'INVALID_ARGUMENT', message: `${name}: the body must not be asynchronous` };
    t.throws(
      () =>
        call(async () => {
          ran = true;
        }),
      refusal,
    );
    t.throws(() => call(() => Promise.resolve(1)), refusal);
    t.throws(() => call(5 as never), { code: 'INVALID_ARGUMENT', message: /must be a function, got 5/ });
  }
  t.false(ran);
  // The device records and the tape is kept as before.
  backward(relu(x), device.ones([2]));
  t.deepEqual([...(await x.grad!.data())], [1, 0]);
  const { program, result } = device.record(() => relu(x));
  program.run();
  t.deepEqual([...(await result.data())], [1, 0]);
});

eachDevice(test, 'what keeps state is neither made nor exchanged within a recording', async (t, device) => {
  const weight = device.ones([2]);
  const average = new WeightAverage(device, [weight]);
  // The emulated device gives a recording nothing that isn't in the pool, and no first uses.
  new BatchNorm2d(device, 3).dispose();
  average.update();
  const live = device.memoryStats().live;
  const refused: [message: RegExp, step: () => unknown][] = [
    [/^BatchNorm2d: can't be made within device\.record/, () => new BatchNorm2d(device, 3)],
    [/^BatchNorm2d: can't be made/, () => new BatchNorm2d(device, 3, { affine: false })],
    [/^Sgd: can't be made/, () => new Sgd(device, [weight], 0.1)],
    [/^WeightAverage: can't be made/, () => new WeightAverage(device, [weight])],
    [/^WeightAverage: apply can't be called/, () => average.apply()],
  ];
  for (const [message, step] of refused) {
    t.throws(() => device.record(step), { code: 'INVALID_STATE', message }, String(step));
    t.false(device.recording);
  }
  t.is(device.memoryStats().live, live);
  t.false(average.applied);
  average.apply();
  t.throws(() => device.record(() => average.restore()), { code: 'INVALID_STATE', message: /^WeightAverage: restore/ });
  t.true(average.applied);
  average.restore();
  const { program } = device.record(() => average.update());
  program.run();
  t.is((await average.stateValues()).get('updates')?.data[0], 2);
});
