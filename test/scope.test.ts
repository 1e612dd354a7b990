import test from 'ava';
import { add, backward, openDevice, scale, scope, type Tensor } from '../lib/index.js';

test('scope: frees what its body made, keeps what it returns', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const start = device.memoryStats().live;
  let inner: Tensor | null = null;
  const kept = scope(() => {
    inner = device.ones([100]);
    return scale(inner, 2);
  });
  t.true(inner!.disposed);
  t.false(kept.disposed);
  t.is((await kept.data())[0], 2);
  t.is(device.memoryStats().live, start + 1);
  kept.dispose();
  t.is(device.memoryStats().live, start);
});

test('scope: keeps tensors in arrays, objects, maps and sets', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const make = () => device.ones([3]);
  const result = scope(() => ({
    list: [make(), [make()]],
    map: new Map([['a', make()]]),
    set: new Set([make()]),
    n: 3,
  }));
  const all = [result.list[0], (result.list[1] as Tensor[])[0], result.map.get('a'), ...result.set] as Tensor[];
  t.is(all.length, 4);
  t.true(all.every((tensor) => !tensor.disposed));
  t.is(device.memoryStats().live, 4);
});

test('scope: nested; what the inner one returns belongs to the outer one', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  let [fromInner, temporary]: (Tensor | null)[] = [null, null];
  const result = scope(() => {
    fromInner = scope(() => {
      temporary = device.ones([2]);
      return add(temporary, temporary);
    });
    t.true(temporary!.disposed);
    t.false(fromInner.disposed);
    return scale(fromInner, 3);
  });
  t.true(fromInner!.disposed);
  t.false(result.disposed);
  result.dispose();
  t.is(device.memoryStats().live, 0);
});

test('scope: frees everything when its body throws, and the outer scope goes on', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  scope(() => {
    const outer = device.ones([2]);
    t.throws(
      () =>
        scope(() => {
          device.ones([5]);
          throw new Error('inside');
        }),
      { message: 'inside' },
    );
    t.is(device.memoryStats().live, 1);
    t.false(outer.disposed);
    const later = device.ones([2]);
    t.false(later.disposed);
  });
  t.is(device.memoryStats().live, 0);
});

test('scope: an asynchronous body is refused, and what it made is freed', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  t.throws(() => scope(async () => device.ones([2])), { code: 'INVALID_ARGUMENT', message: /scope: .* asynchronous/ });
  t.is(device.memoryStats().live, 0);
});

test('scope: keep() takes a tensor out; tensors from outside are untouched', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const outside = device.ones([4]);
  const kept: Tensor[] = [];
  scope(() => {
    kept.push(scale(outside, 2).keep());
    device.ones([3]);
  });
  t.false(outside.disposed);
  t.false(kept[0]!.disposed);
  t.is(device.memoryStats().live, 2);
});

test('scope: frees the tape of a forward that no backward followed', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const weight = device.tensor([1, 2], [2], { requiresGrad: true });
  scope(() => {
    scale(add(weight, weight), 2);
  });
  t.is(device.memoryStats().live, 1);
});

test('scope: takes the graph along, even of a tensor that it returns', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const weight = device.tensor([1], [1], { requiresGrad: true });
  const y = scope(() => scale(add(weight, weight), 2));
  t.throws(() => backward(y), { code: 'INVALID_STATE', message: /graph behind scale was freed by .*scope/ });
});

test('scope: gradients of leaves outlive it', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const weight = device.tensor([1, 2], [2], { requiresGrad: true });
  scope(() => backward(scale(weight, 3), device.ones([2])));
  t.deepEqual([...(await weight.grad!.data())], [3, 3]);
  weight.dispose();
  t.is(device.memoryStats().live, 0);
});

test('using: a tensor ends with its block', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  {
    using tensor = device.ones([7]);
    t.is(tensor.size, 7);
    t.is(device.memoryStats().live, 1);
  }
  t.is(device.memoryStats().live, 0);
});
