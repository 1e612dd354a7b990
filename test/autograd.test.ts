import test from 'ava';
import {
  add,
  avgPool2d,
  backward,
  batchNorm,
  conv2d,
  crossEntropy,
  type Device,
  type GradientPortions,
  globalAvgPool,
  kalmanNorm,
  linear,
  moments,
  mul,
  noGrad,
  openDevice,
  relu,
  samples,
  scale,
  scope,
  type Tensor,
} from '../lib/index.js';
import { map, zip } from './support/array.js';
import { checkOp } from './support/check-op.js';
import { bits, tolerance } from './support/compare.js';
import { eachDevice } from './support/devices.js';
import * as reference from './support/reference.js';

const values = async (tensor: Tensor | null) => [...(await tensor!.data())];
const leaf = (device: Device, data: number[], shape = [data.length]) =>
  device.tensor(data, shape, { requiresGrad: true });

eachDevice(test, 'a weight that is used twice gets the sum of both gradients', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: {
      x: random.normals([2, 3, 5, 4]),
      weight: { ...random.normals([3, 3, 3, 3], 0, 0.3), format: 'filter' as const },
    },
    run: ({ x, weight }) => [conv2d(conv2d(x, weight, { padding: 1 }), weight, { padding: 1 })],
    reference: ({ x, weight }) => {
      const once = (input: typeof x) => reference.conv2d(input, weight, [1, 1], [1, 1, 1, 1]);
      return [once(once(x))];
    },
    tolerance: tolerance.sum(27 * 27),
  }));
});

eachDevice(test, 'a tensor that several operations read', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([3, 5]) },
    run: ({ x }) => {
      const y = scale(x, 3);
      return [add(add(y, y), add(relu(y), x))];
    },
    reference: ({ x }) => [map(x, (value) => 7 * value + Math.max(3 * value, 0))],
    tolerance: tolerance.elementwise,
  }));
});

eachDevice(test, 'several outputs: gradients of all of them in one backward', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { a: random.normals([4, 3, 2, 2]), b: random.normals([4, 3, 2, 2]) },
    run: ({ a, b }) => {
      const shared = add(a, b);
      const { mean } = moments(shared, 2);
      return [shared, relu(shared), mean];
    },
    reference: ({ a, b }) => {
      const shared = zip(a, b, (x, y) => x + y);
      return [shared, reference.relu(shared), reference.moments(shared, 2).mean];
    },
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'gradients accumulate over backward calls until zeroGrad', async (t, device) => {
  const w = leaf(device, [1, 2]);
  backward(scale(w, 3), device.ones([2]));
  backward(scale(w, 4), device.tensor([1, 10]));
  t.deepEqual(await values(w.grad), [7, 43]);
  w.zeroGrad();
  t.is(w.grad, null);
  backward(scale(w, 5), device.ones([2]));
  t.deepEqual(await values(w.grad), [5, 5]);
});

eachDevice(test, "leaves' gradients: sums in the order of their coming, bit for bit", async (t, device, random) => {
  const leaves = [
    { shape: [5], format: 'plain', had: false, come: 1 },
    { shape: [7], format: 'plain', had: true, come: 1 },
    { shape: [3, 5], format: 'plain', had: false, come: 2 },
    { shape: [9, 3, 3, 3], format: 'filter', had: true, come: 2 },
    { shape: [2, 3, 4, 5], format: 'activation', had: false, come: 5 },
    { shape: [2 ** 18 + 3], format: 'plain', had: true, come: 3 },
  ] as const;
  const outputs: Tensor[] = [];
  const seeds: Tensor[] = [];
  const cases = leaves.map(({ shape, format, had, come }) => {
    const tensor = device.full(shape, 1, { format, requiresGrad: true });
    const gradients = Array.from({ length: Number(had) + come }, () => Float32Array.from(random.normals(shape).data));
    const seed = (gradient: Float32Array) => device.tensor(gradient, shape, { format });
    if (had) backward(scale(tensor, 1), seed(gradients[0] as Float32Array));
    // Backward goes from the last operation to the first.
    for (const gradient of gradients.slice(Number(had)).reverse()) {
      outputs.push(scale(tensor, 1));
      seeds.push(seed(gradient));
    }
    return { tensor, gradients };
  });
  backward(outputs, seeds);
  for (const [i, { tensor, gradients }] of cases.entries()) {
    const expected = gradients.reduce((sum, gradient) => sum.map((value, at) => value + (gradient[at] as number)));
    t.is(bits(await tensor.grad!.data()), bits(expected), `leaf ${i}`);
  }
});

eachDevice(test, 'the last sums of all leaves are one launch, those of large ones apart', async (t, device) => {
  const sizes = [3, 2 ** 18, 2 ** 18 + 1, 5];
  const weights = sizes.map((size) => device.full([size], 1, { requiresGrad: true }));
  const seeds = sizes.map((size) => device.ones([size]));
  const twice = () => {
    const outputs = weights.flatMap((weight) => [scale(weight, 2), scale(weight, 3)]);
    backward(
      outputs,
      outputs.map((_, i) => seeds[i >> 1] as Tensor),
    );
  };
  twice();
  await device.synchronize();
  device.setProfiling(true);
  twice();
  await device.synchronize();
  const { add, addEach } = device.profile();
  device.setProfiling(false);
  // What each had with the first of two gradients, the second of the large one, then those of the others.
  t.is(add, undefined);
  t.is(addEach?.calls, 4 + 1 + 1);
  for (const weight of weights) t.true((await weight.grad?.data())?.every((value) => value === 10));
});

eachDevice(test, 'gradients are handed out in portions when they are final', async (t, device) => {
  const [a, b, c, d] = [2, 3, 5, 7].map((value) => leaf(device, [value])) as [Tensor, Tensor, Tensor, Tensor];
  // b is used twice: its gradient is final with the first use, the last in backward.
  const y = mul(mul(mul(mul(a, b), c), b), d);
  const portions: { leaves: Tensor[]; missing: Tensor[]; read: Promise<unknown> }[] = [];
  const take = (size: number) => {
    for (const tensor of [a, b, c, d]) tensor.zeroGrad();
    portions.length = 0;
    return {
      size,
      ready(leaves: readonly Tensor[]) {
        const read = Promise.all(leaves.map(({ grad }) => values(grad)));
        portions.push({ leaves: [...leaves], missing: [a, b, c, d].filter(({ grad }) => !grad), read });
      },
    };
  };
  backward(y, undefined, { portions: take(1) });
  t.deepEqual(
    portions.map(({ leaves }) => leaves),
    [[d], [c], [b, a]],
  );
  t.deepEqual(
    portions.map(({ missing }) => missing),
    [[a, b, c], [a, b], []],
  );
  t.deepEqual(await Promise.all(portions.map(({ read }) => read)), [[[90]], [[126]], [[420], [315]]]);
  const again = mul(mul(a, b), c);
  backward(again, undefined, { portions: take(2) });
  t.deepEqual(
    portions.map(({ leaves }) => leaves),
    [[c, a, b]],
    'a portion has as many values, or more',
  );
  backward(mul(mul(a, b), c), undefined, { portions: take(100) });
  t.deepEqual(
    portions.map(({ leaves }) => leaves),
    [[c, a, b]],
    'the last has what is left',
  );
  const product = mul(a, b);
  for (const wrong of [{ ...take(1), size: 0 }, { size: 1 }, null]) {
    t.throws(() => backward(product, undefined, { portions: wrong as GradientPortions }), {
      code: 'INVALID_ARGUMENT',
      message: /backward: portions must have a size/,
    });
  }
  backward(product);
});

test('a backward that fails leaves all gradients as they were, and no memory behind', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const [w, v] = [leaf(device, [1, 2]), leaf(device, [3])];
  backward(scale(w, 3), device.ones([2]));
  const spent = scale(v, 2);
  backward(spent);
  const { live } = device.memoryStats();
  scope(() => {
    const outputs = [scale(spent, 3), scale(w, 5), scale(v, 7)];
    const seeds = outputs.map(({ shape }) => device.ones(shape));
    t.throws(() => backward(outputs, seeds), { code: 'INVALID_STATE' });
  });
  t.is(device.memoryStats().live, live);
  t.deepEqual(await values(w.grad), [3, 3]);
  t.deepEqual(await values(v.grad), [2]);
});

eachDevice(test, 'the default gradient of one value is 1', async (t, device) => {
  const w = leaf(device, [4]);
  backward(scale(w, 2.5));
  t.deepEqual(await values(w.grad), [2.5]);
});

eachDevice(test, 'a second backward through the same graph is an error', (t, device) => {
  const w = leaf(device, [1]);
  const y = scale(w, 2);
  backward(y);
  t.throws(() => backward(y), {
    code: 'INVALID_STATE',
    message: /graph behind scale was freed by an earlier backward/,
  });
});

eachDevice(test, 'a second backward through a part of a spent graph is an error', (t, device) => {
  const w = leaf(device, [1]);
  const shared = scale(w, 2);
  const [y, z] = [scale(shared, 3), scale(shared, 4)];
  backward(y);
  t.throws(() => backward(z), { code: 'INVALID_STATE', message: /freed by an earlier backward/ });
});

eachDevice(test, 'backward without a graph is an error', (t, device) => {
  t.throws(() => backward(device.ones([1])), { code: 'INVALID_STATE', message: /no graph/ });
  const w = leaf(device, [1]);
  t.throws(() => backward(noGrad(() => scale(w, 2))), { code: 'INVALID_STATE', message: /no graph/ });
});

eachDevice(test, 'backward checks the gradients that it is given', (t, device) => {
  const y = scale(leaf(device, [1, 2]), 2);
  t.throws(() => backward(y), { code: 'SHAPE_MISMATCH', message: /gradient is needed .* \[2\]/ });
  t.throws(() => backward(y, device.ones([3])), { code: 'SHAPE_MISMATCH', message: /shape \[2\], got \[3\]/ });
  t.throws(() => backward([y], []), { code: 'INVALID_ARGUMENT', message: /expected 1 gradients, got 0/ });
  // None of these took anything from the graph.
  t.notThrows(() => backward(y, device.ones([2])));
});

eachDevice(test, 'noGrad: nothing goes on the tape, also after an error inside', (t, device) => {
  const w = leaf(device, [1]);
  t.false(noGrad(() => scale(w, 2)).requiresGrad);
  t.throws(() =>
    noGrad(() => {
      throw new Error('inside');
    }),
  );
  t.true(scale(w, 2).requiresGrad);
  noGrad(() => noGrad(() => {}));
  t.true(scale(w, 2).requiresGrad);
});

eachDevice(test, 'detach: the same memory without history', async (t, device) => {
  const w = leaf(device, [3]);
  const y = scale(w, 2);
  const cut = y.detach();
  t.false(cut.requiresGrad);
  backward(add(y, scale(cut, 100)));
  t.deepEqual(await values(w.grad), [2]);
  t.deepEqual(await values(cut), [6]);
});

eachDevice(test, 'constants get no gradient', (t, device) => {
  const w = leaf(device, [3]);
  const constant = device.tensor([2]);
  backward(add(w, constant));
  t.is(constant.grad, null);
  t.not(w.grad, null);
});

eachDevice(test, 'outputs that nothing reads cost nothing and carry nothing', async (t, device) => {
  const w = leaf(device, [1, 2, 3, 4], [4, 1]);
  const { mean } = moments(w, 2);
  const unused = scale(w, 9);
  backward(mean, device.ones([2]));
  t.deepEqual(await values(w.grad), [0.5, 0.5, 0.5, 0.5]);
  unused.dispose();
});

eachDevice(test, 'disposing intermediate results before backward changes nothing', async (t, device) => {
  const w = leaf(device, [1, -2]);
  const doubled = scale(w, 2);
  const rectified = relu(doubled);
  const y = scale(rectified, 3);
  doubled.dispose();
  rectified.dispose();
  backward(y, device.ones([2]));
  t.deepEqual(await values(w.grad), [6, 0]);
});

test('backward frees the graph: no memory is left but leaves and gradients', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const filter = device.tensor(new Float32Array(8 * 3 * 9).fill(0.1), [8, 3, 3, 3], {
    format: 'filter',
    requiresGrad: true,
  });
  const matrix = device.tensor(new Float32Array(80).fill(0.1), [8, 10], { requiresGrad: true });
  const images = device.ones([4, 3, 6, 6]);
  const labels = device.tensor(Int32Array.of(1, 2, 3, 4));
  const prior = device.ones([16]);
  const start = device.memoryStats().live;
  const made: Tensor[] = [];
  const use = (tensor: Tensor) => {
    made.push(tensor);
    return tensor;
  };

  const features = use(conv2d(images, filter, { padding: 'same' }));
  const bn = batchNorm(features, { gamma: null, beta: null }, { splits: 2, relu: true });
  const kn = kalmanNorm(use(bn.output), null, { gamma: null, beta: null }, { splits: 2, gain: 0.1 });
  const pooled = use(globalAvgPool(use(avgPool2d(use(samples(use(kn.output), 0, 4)), 2))));
  const { loss, errors } = crossEntropy(use(linear(pooled, matrix, null)), labels);
  backward(loss);
  const { statistics } = bn;
  const rest = [kn.posterior.mean, kn.posterior.variance, kn.observation.mean, kn.observation.variance, kn.ratio];
  for (const tensor of [...made, loss, errors, statistics.mean, statistics.variance, ...rest]) tensor.dispose();
  t.is(device.memoryStats().live, start + 2, 'two gradients');

  filter.zeroGrad();
  matrix.zeroGrad();
  t.is(device.memoryStats().live, start);
  for (const tensor of [filter, matrix, images, labels, prior]) tensor.dispose();
  t.is(device.memoryStats().live, 0);
  await device.synchronize();
});
