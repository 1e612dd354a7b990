import test from 'ava';
import * as library from '../lib/index.js';

const { Belief, Device, DeviceRandom, HostRandom, KalmanNormError, openDevice, Tensor } = library;

/** Exports that aren't called here, and why. */
const left: Readonly<Record<string, string>> = {
  Device: 'made by openDevice alone',
  KalmanNormError: 'takes any message',
  Layer: 'abstract',
  Module: 'abstract',
  Optimizer: 'abstract; its subclasses are called',
  Program: 'made by Device.record alone',
  SpecReader: 'made by buildModel alone',
  Tensor: 'made by Device.tensor alone',
  downloadCifar10: 'needs the network',
  downloadCifar100: 'needs the network',
  syntheticDataset: 'draws 2,500 images for each object that has none of its options',
};

type Callable = (...args: unknown[]) => unknown;

const isClass = (value: unknown) => /^class\b/.test(Function.prototype.toString.call(value));
const called = Object.entries(library).filter(
  (entry): entry is [string, Callable] => typeof entry[1] === 'function' && !(entry[0] in left),
);

test('the exports that are left out exist', (t) => {
  t.deepEqual(
    Object.keys(left).filter((name) => !(name in library)),
    [],
  );
});

test('every export works or throws a KalmanNormError, whatever plain JavaScript passes it', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  using other = openDevice('cpu', { threads: 1 });
  const disposed = device.ones([1]);
  disposed.dispose();
  const wrong: [name: string, value: unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['NaN', Number.NaN],
    ['-1', -1],
    ['1.5', 1.5],
    ['an empty text', ''],
    ['{}', {}],
    ['[]', []],
    ['[null]', [null]],
    ['2^53', 2 ** 53],
    ['true', true],
    ['a function', () => 1],
    ['a disposed tensor', disposed],
    ["another device's tensor", other.ones([1])],
  ];
  // What goes before the wrong value, so that the later arguments are reached too.
  const image = device.ones([2, 3, 4, 4]);
  const belief = new Belief(device.ones([3]), device.ones([3]), 1);
  const starts: [name: string, values: unknown[]][] = [
    ['', []],
    ['device, ', [device]],
    ['device, 4, ', [device, 4]],
    ['device, 4, 4, ', [device, 4, 4]],
    ['device, 4, 4, 3, ', [device, 4, 4, 3]],
    ['device, [weight], ', [device, [image]]],
    ['device, [weight], 0.1, ', [device, [image], 0.1]],
    ['image, ', [image]],
    ['image, image, ', [image, image]],
    ['image, 1, ', [image, 1]],
    ['image, null, ', [image, null]],
    ['image, belief, ', [image, belief]],
    ['belief, ', [belief]],
    ['belief, filter, ', [belief, device.ones([3, 3, 1, 1], { format: 'filter' })]],
    ['random, ', [new HostRandom(1)]],
    ['3, ', [3]],
    ['3, 0.1, ', [3, 0.1]],
  ];
  const faults = new Set<string>();
  for (const [name, call] of called) {
    for (const [start, before] of starts) {
      for (const [label, value] of wrong) {
        try {
          const args = [...before, value, value, value];
          const result = isClass(call) ? Reflect.construct(call, args) : await call(...args);
          if (result instanceof Tensor && ![image, disposed].includes(result)) result.dispose();
        } catch (error) {
          if (!(error instanceof KalmanNormError)) faults.add(`${name}(${start}${label}, …): ${error}`);
        }
      }
    }
  }
  t.deepEqual([...faults], []);
  // The device goes on.
  await device.synchronize();
  t.true((await image.data()).every((value) => value === 1));
  t.true(device instanceof Device && new DeviceRandom(device, 1).seed === 1);
});
