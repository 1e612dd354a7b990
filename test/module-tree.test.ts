import test from 'ava';
import {
  BatchNorm2d,
  backward,
  type Device,
  KalmanNorm2d,
  Linear,
  Module,
  openDevice,
  Sequential,
  Sgd,
  type Tensor,
} from '../lib/index.js';
import { eachDevice } from './support/devices.js';

class Holder extends Module {
  [field: string]: unknown;
  constructor(fields: Record<string, unknown>) {
    super();
    Object.assign(this, fields);
  }
}

/** A bias of one value. */
class Shift extends Module {
  readonly bias: Tensor;
  constructor(device: Device) {
    super();
    this.bias = this.parameter(() => device.zeros([1]));
  }
}

test('modules are found in maps, sets, objects and nested arrays, with names by key', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const shift = () => new Shift(device);
  const holder = new Holder({
    map: new Map<unknown, unknown>([
      ['a', shift()],
      [7, [shift()]],
    ]),
    nested: [[shift()], [[shift()]]],
    object: { left: shift(), right: { deep: shift() } },
    set: new Set([shift()]),
    options: { stride: 1, names: ['x'], none: null, when: new Date() },
  });
  t.deepEqual(
    [...holder.namedParameters().keys()],
    ['map.a', 'map.7.0', 'nested.0.0', 'nested.1.0.0', 'object.left', 'object.right.deep', 'set.0'].map(
      (name) => `${name}.bias`,
    ),
  );
  holder.eval();
  t.true(holder.modules().every(({ training }) => !training));
  t.is(holder.modules().length, 8);
  const odd = new Holder({ map: new Map([[{}, shift()]]) });
  t.throws(() => odd.namedParameters(), { code: 'INVALID_ARGUMENT', message: /keys.*map/ } as object);
});

test('references to the holder, and containers that hold themselves, end', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const child = new Holder({ shift: new Shift(device) });
  const loop: unknown[] = [child];
  loop.push(loop);
  const root = new Holder({ child, loop });
  child.parent = root;
  t.deepEqual([...root.namedParameters().keys()], ['child.shift.bias', 'loop.0.shift.bias']);
  t.is(root.parameterCount(), 1);
  root.eval();
  t.false(child.training);
});

test('two tensors of one name are an error', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const holder = new Holder({ a: { 'b.c': new Shift(device), b: { c: new Shift(device) } } });
  t.throws(() => holder.namedParameters(), { code: 'INVALID_STATE', message: /both named a\.b\.c\.bias/ } as object);
});

eachDevice(test, 'a layer under two names takes one step and is counted once', async (t, device) => {
  const shared = new Linear(device, 1, 1, { bias: false });
  shared.weight.fill(1);
  const net = new Sequential(shared, shared);
  t.deepEqual([...net.namedParameters().keys()], ['layers.0.weight', 'layers.1.weight']);
  t.is(net.parameterCount(), 1);
  t.is(net.parameters().length, 1);
  const optimizer = new Sgd(device, net.namedParameters(), 0.1);
  // y = w²·x: the gradient at w = x = 1 is 2.
  backward(net.forward(device.tensor([[1]])));
  optimizer.step();
  t.is(Math.fround((await shared.weight.data())[0]!), Math.fround(0.8));
  const buffers = optimizer.namedBuffers();
  t.deepEqual([...buffers.keys()], ['layers.0.weight', 'layers.1.weight']);
  t.is(buffers.get('layers.0.weight'), buffers.get('layers.1.weight'));
});

eachDevice(test, 'Sgd takes an array of parameters', async (t, device) => {
  const layer = new Linear(device, 1, 1);
  layer.weight.fill(1);
  const optimizer = new Sgd(device, layer.parameters(), 0.1);
  backward(layer.forward(device.tensor([[3]])));
  optimizer.step();
  t.is(Math.fround((await layer.weight.data())[0]!), Math.fround(0.7));
  t.deepEqual([...optimizer.namedBuffers().keys()], ['0', '1']);
  for (const bad of [undefined, null, 5, layer, 'weights', [1], new Map([['a', 2]])]) {
    t.throws(() => new Sgd(device, bad as never, 0.1), {
      code: 'INVALID_ARGUMENT',
      message: /Sgd: parameters/,
    } as object);
  }
});

test('a batch that training cannot split names eval()', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const x = device.ones([1, 3, 2, 2]);
  for (const norm of [new BatchNorm2d(device, 3, { splits: 8 }), new KalmanNorm2d(device, 3, { splits: 8 })]) {
    t.throws(() => norm.forward(x), {
      code: 'INVALID_ARGUMENT',
      message: /1 samples.*8 equal parts.*eval\(\)/,
    } as object);
    t.notThrows(() => norm.eval().forward(x));
  }
});
