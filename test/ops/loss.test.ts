import test from 'ava';
import { backward, binaryCrossEntropy, crossEntropy, huberLoss, mseLoss } from '../../lib/index.js';
import { type NdArray, ndarray, vector, zip } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

for (const [n, classes, spread] of [
  [1, 1, 1],
  [5, 10, 1],
  [128, 10, 5],
  [7, 100, 30],
  [33, 3, 1e-3],
] as const) {
  eachDevice(test, `crossEntropy: ${n} samples, ${classes} classes, spread ${spread}`, async (t, device, random) => {
    const labels = Int32Array.from({ length: n }, () => random.below(classes));
    await checkOp(t, device, random, () => ({
      inputs: { logits: random.normals([n, classes], 2, spread) },
      run: ({ logits }) => {
        const { loss, errors } = crossEntropy(logits, device.tensor(labels));
        return [loss, errors];
      },
      reference: ({ logits }) => {
        const { loss, errors } = reference.crossEntropy(logits, labels);
        return [vector([loss]), vector([errors])];
      },
      tolerance: tolerance.elementwise,
    }));
  });
}

for (const [smoothing, weighted] of [
  [0.1, false],
  [0, true],
  [0.3, true],
] as const) {
  const title = `smoothing ${smoothing}${weighted ? ', weights' : ''}`;
  eachDevice(test, `crossEntropy: ${title}`, async (t, device, random) => {
    const [n, classes] = [9, 40];
    const labels = Int32Array.from({ length: n }, () => random.below(classes));
    const weights = weighted ? random.uniforms([classes], 0.2, 3) : ndarray([classes], new Array(classes).fill(1));
    await checkOp(t, device, random, () => ({
      inputs: { logits: random.normals([n, classes], 2, 3) },
      run: ({ logits }) => {
        const given = weighted && { weights: device.tensor(Float32Array.from(weights.data)) };
        const { loss, errors } = crossEntropy(logits, device.tensor(labels), { smoothing, ...given });
        return [loss, errors];
      },
      reference: ({ logits }) => {
        let [total, weight] = [0, 0];
        for (const [i, label] of labels.entries()) {
          const row = [...logits.data.subarray(i * classes, (i + 1) * classes)];
          const normalizer = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
          for (const [k, value] of row.entries()) {
            const target = (k === label ? 1 - smoothing : 0) + smoothing / classes;
            total += target * weights.data[k]! * (normalizer - value);
          }
          weight += weights.data[label]!;
        }
        return [vector([total / weight]), vector([reference.crossEntropy(logits, labels).errors])];
      },
      tolerance: tolerance.elementwise,
    }));
  });
}

for (const ignoreIndex of [-1, 3, 7]) {
  eachDevice(test, `crossEntropy: label ${ignoreIndex} is ignored`, async (t, device, random) => {
    const [n, classes] = [37, 5];
    const labels = Int32Array.from({ length: n }, (_, i) => (i % 3 === 0 ? ignoreIndex : random.below(classes)));
    for (const weighted of [false, true]) {
      const weights = random.uniforms([classes], 0.2, 3);
      await checkOp(t, device, random, () => ({
        inputs: { logits: random.normals([n, classes], 2, 3) },
        run: ({ logits }) => {
          const given = weighted && { weights: device.tensor(Float32Array.from(weights.data)) };
          const { loss, errors } = crossEntropy(logits, device.tensor(labels), { ignoreIndex, ...given });
          return [loss, errors];
        },
        reference: ({ logits }) => {
          let [total, weight, wrong] = [0, 0, 0];
          for (const [i, label] of labels.entries()) {
            if (label === ignoreIndex) continue;
            const row = { shape: [1, classes], data: logits.data.subarray(i * classes, (i + 1) * classes) };
            const own = reference.crossEntropy(row, Int32Array.of(label));
            const factor = weighted ? weights.data[label]! : 1;
            total += factor * own.loss;
            weight += factor;
            wrong += own.errors;
          }
          return [vector([total / weight]), vector([wrong])];
        },
        tolerance: tolerance.elementwise,
      }));
    }
  });
}

eachDevice(test, 'crossEntropy: of ignored samples alone the loss is 0', async (t, device) => {
  const logits = device.tensor([1, Number.NaN, Number.POSITIVE_INFINITY, 2], [2, 2], { requiresGrad: true });
  const { loss, errors } = crossEntropy(logits, device.tensor(Int32Array.of(-100, -100)), { ignoreIndex: -100 });
  backward(loss);
  t.is(await loss.item(), 0);
  t.is(await errors.item(), 0);
  t.deepEqual([...(await logits.grad!.data())], [0, 0, 0, 0]);
});

for (const shape of [[7], [3, 8, 2, 3]]) {
  eachDevice(test, `losses of values, [${shape.join(', ')}]`, async (t, device, random) => {
    const average = (a: NdArray, b: NdArray, loss: (x: number, y: number) => number) => {
      const { data } = zip(a, b, loss);
      return { shape: [], data: Float64Array.of(data.reduce((sum, value) => sum + value, 0) / data.length) };
    };
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals(shape, 0, 2), y: random.uniforms(shape, 0, 1) },
      run: ({ x, y }) => [mseLoss(x, y), huberLoss(x, y, 0.7), binaryCrossEntropy(x, y)],
      reference: ({ x, y }) => [
        average(x, y, (a, b) => (a - b) ** 2),
        average(x, y, (a, b) => {
          const error = Math.abs(a - b);
          return error <= 0.7 ? error ** 2 / 2 : 0.7 * (error - 0.35);
        }),
        average(x, y, (a, b) => -b * Math.log(1 / (1 + Math.exp(-a))) - (1 - b) * Math.log(1 / (1 + Math.exp(a)))),
      ],
      tolerance: 2 * tolerance.elementwise,
      gradientTolerance: 4 * tolerance.elementwise,
    }));
  });
}

eachDevice(test, 'losses: wrong arguments are typed errors', (t, device) => {
  const [x, labels] = [device.ones([2, 3]), device.tensor(Int32Array.of(0, 1))];
  const cross = (options: object) => () => crossEntropy(x, labels, options);
  t.throws(cross({ smoothing: 2 }), { code: 'INVALID_ARGUMENT', message: /smoothing must be from 0 to 1/ });
  t.throws(cross({ weights: device.ones([2]) }), { code: 'SHAPE_MISMATCH', message: /weights/ });
  t.throws(cross({ ignoreIndex: 0.5 }), {
    code: 'INVALID_ARGUMENT',
    message: /ignoreIndex .*32-bit integer, got 0\.5/,
  });
  t.throws(() => mseLoss(x, device.ones([3])), { code: 'SHAPE_MISMATCH', message: /mseLoss.*one shape/ });
  t.throws(() => huberLoss(x, x, 0), { code: 'INVALID_ARGUMENT', message: /delta/ });
  t.throws(() => binaryCrossEntropy(x, device.ones([2, 1])), { code: 'SHAPE_MISMATCH' });
});

eachDevice(test, 'binaryCrossEntropy: logits far out', async (t, device) => {
  const loss = binaryCrossEntropy(device.tensor([1000, -1000]), device.tensor([0, 0]));
  t.is(await loss.item(), 500);
});

eachDevice(test, 'crossEntropy: logits beyond the range of exp', async (t, device) => {
  const logits = device.tensor([1000, -1000, 0, 1e4, 1e4 - 1, 0], [2, 3]);
  const { loss, errors } = crossEntropy(logits, device.tensor(Int32Array.of(1, 0)));
  closeTo(t, await loss.data(), [(2000 + Math.log1p(Math.exp(-1))) / 2], tolerance.elementwise, 'loss');
  t.is(await errors.item(), 1);
});

eachDevice(test, 'crossEntropy: NaN in a sample and a label outside make the loss NaN', async (t, device) => {
  const labels = device.tensor(Int32Array.of(0, 1));
  const nan = crossEntropy(device.tensor([1, Number.NaN, 1, 2], [2, 2]), labels);
  t.is(await nan.loss.item(), Number.NaN);
  t.is(await nan.errors.item(), 1);
  for (const label of [-1, 2]) {
    const logits = device.tensor([3, 1, 1, 2], [2, 2], { requiresGrad: true });
    const outside = crossEntropy(logits, device.tensor(Int32Array.of(0, label)));
    backward(outside.loss);
    t.is(await outside.loss.item(), Number.NaN);
    t.is(await outside.errors.item(), 1);
    t.deepEqual([...(await logits.grad!.data())].slice(2), [0, 0]);
  }
});
