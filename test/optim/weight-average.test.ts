import test from 'ava';
import {
  openDevice,
  type Program,
  Sgd,
  type Tensor,
  WeightAverage,
  type WeightAverageOptions,
} from '../../lib/index.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { copySlots, copyValues, drawGradients, drawSlots, parametersOf, stepWithSlopes } from '../support/optimizer.js';

for (const options of [{ decay: 0.75 }, { decay: 0.75, warmUp: true }] satisfies WeightAverageOptions[]) {
  const title = `WeightAverage: follows the weights, ${JSON.stringify(options)}`;
  eachDevice(test, title, async (t, device, random) => {
    const slots = drawSlots(device, random);
    using average = new WeightAverage(device, parametersOf(slots), options);
    const averages = slots.map(({ w }) => Float64Array.from(w));
    // Long enough for the warming up to end.
    for (let step = 0; step < 30; step++) {
      const decay = options.warmUp ? Math.min(0.75, (1 + step) / (10 + step)) : 0.75;
      for (const [s, { tensor, w }] of slots.entries()) {
        if (step < 3) {
          w.set(random.normals(tensor.shape).data);
          tensor.write(Float32Array.from(w));
        }
        averages[s]!.forEach((value, i, all) => {
          all[i] = decay * value + (1 - decay) * w[i]!;
        });
      }
      average.update();
    }
    const state = await average.stateValues();
    t.is(state.get('updates')?.data[0], 30);
    for (const [s, { name }] of slots.entries()) {
      closeTo(t, state.get(`average.${name}`)!.data, averages[s]!, 8 * tolerance.elementwise, name);
    }
  });
}

eachDevice(
  test,
  'WeightAverage: replayed updates give the bits of eager ones, and go on',
  async (t, device, random) => {
    const slots = drawSlots(device, random);
    const copies = copySlots(device, slots);
    const options = { decay: 0.9, warmUp: true };
    const make = (own: typeof slots) => ({
      optimizer: new Sgd(device, parametersOf(own), 0.1),
      average: new WeightAverage(device, parametersOf(own), options),
    });
    const [eager, replayed] = [make(slots), make(copies)];
    const step = (own: typeof slots, { optimizer, average }: typeof eager) => {
      stepWithSlopes(own, optimizer);
      average.update();
    };
    let program: Program | null = null;
    for (let i = 0; i < 4; i++) {
      drawGradients(slots, random);
      copyValues(slots, copies, 'slope');
      step(slots, eager);
      if (program) program.run();
      else {
        step(copies, replayed);
        program = device.record(() => step(copies, replayed)).program;
      }
      // Exchanged and back, the weights are those of before.
      await replayed.average.during(() => device.synchronize());
    }
    program?.dispose();
    const stateOf = async (average: WeightAverage) =>
      [...(await average.stateValues())].map(([name, { data }]) => `${name} ${bits(data)}`);
    t.deepEqual(await stateOf(replayed.average), await stateOf(eager.average));
    using resumed = new WeightAverage(device, parametersOf(slots), options);
    resumed.loadStateDict(await eager.average.stateValues());
    for (const average of [resumed, eager.average]) average.update();
    t.deepEqual(await stateOf(resumed), await stateOf(eager.average));
    for (const { optimizer, average } of [eager, replayed]) {
      optimizer.dispose();
      average.dispose();
    }
  },
);

eachDevice(test, 'WeightAverage: applied and restored in place', async (t, device) => {
  const weight = device.ones([2, 3]);
  using average = new WeightAverage(device, new Map([['w', weight]]), { decay: 0.5 });
  weight.fill(3);
  average.update();
  const values = async (tensor: Tensor) => [...new Set(await tensor.data())];
  t.deepEqual(await average.during(() => values(weight)), [2]);
  t.deepEqual(await values(weight), [3]);
  await t.throwsAsync(
    average.during(() => {
      throw new Error('within');
    }),
    { message: 'within' },
  );
  t.deepEqual(await values(weight), [3]);

  average.apply();
  t.true(average.applied);
  t.deepEqual(await values(weight), [2]);
  const applied = { code: 'INVALID_STATE', message: /while the averages are applied; call restore first/ };
  for (const call of [() => average.apply(), () => average.update(), () => average.stateDict()])
    t.throws(call, applied);
  await t.throwsAsync(average.stateValues(), applied);
  average.restore();
  t.throws(() => average.restore(), { code: 'INVALID_STATE', message: /restore needs.*call apply first/ });
  t.deepEqual(await values(weight), [3]);
});

test('WeightAverage: what it refuses, and what it frees', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  using other = openDevice('cpu', { threads: 1 });
  const weight = device.ones([4]);
  for (const decay of [1, -0.1, Number.NaN]) {
    t.throws(() => new WeightAverage(device, [weight], { decay }), {
      code: 'INVALID_ARGUMENT',
      message: new RegExp(`WeightAverage: decay must be .*got ${decay}`),
    });
  }
  t.throws(() => new WeightAverage(device, weight as never), { code: 'INVALID_ARGUMENT', message: /parameters/ });
  t.throws(() => new WeightAverage(device, [other.ones([1])]), { code: 'DEVICE_MISMATCH' });
  const average = new WeightAverage(device, [weight]);
  t.throws(() => average.loadStateDict(new Map()), { code: 'STATE_MISMATCH', message: /2 missing/ });
  average.dispose();
  average.dispose();
  await device.synchronize();
  t.is(device.memoryStats().live, 1);
});
