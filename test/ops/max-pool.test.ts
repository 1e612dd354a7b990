import test from 'ava';
import {
  type BothAxes,
  backward,
  buildModel,
  type Device,
  MaxPool2d,
  type MaxPool2dOptions,
  maxPool2d,
  openDevice,
  specOf,
} from '../../lib/index.js';
import { type NdArray, ndarray, sizes } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { deviceNames, eachDevice, seeded } from '../support/devices.js';
import { kink } from '../support/reference.js';

const both = (value: BothAxes) => (typeof value === 'number' ? ([value, value] as const) : value);

/** The places of the window's pixels within the image, in row-major order, for each value of the result. */
function windows(shape: readonly number[], kernel: BothAxes, options: MaxPool2dOptions) {
  const [n, c, h, w] = shape as [number, number, number, number];
  const [kh, kw] = both(kernel);
  const [sh, sw] = both(options.stride ?? kernel);
  const [ph, pw] = both(options.padding ?? 0);
  const height = Math.floor((h + 2 * ph - kh) / sh) + 1;
  const width = Math.floor((w + 2 * pw - kw) / sw) + 1;
  const places: number[][] = [];
  for (let plane = 0; plane < n * c; plane++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const inside: number[] = [];
        for (let i = row * sh - ph; i < row * sh - ph + kh; i++) {
          for (let j = column * sw - pw; j < column * sw - pw + kw; j++) {
            if (i >= 0 && i < h && j >= 0 && j < w) inside.push((plane * h + i) * w + j);
          }
        }
        places.push(inside);
      }
    }
  }
  return { shape: [n, c, height, width], places };
}

function reference(x: NdArray, kernel: BothAxes, options: MaxPool2dOptions): NdArray {
  const { shape, places } = windows(sizes(x), kernel, options);
  const y = ndarray(shape);
  for (const [index, place] of places.entries()) {
    const [largest, second] = place.map((i) => x.data[i]!).sort((a, b) => b - a);
    y.data[index] = largest!;
    if (second !== undefined) kink.nearest = Math.min(kink.nearest, largest! - second);
  }
  return y;
}

const shapes = [
  [1, 1, 3, 3],
  [2, 5, 7, 6],
  [2, 16, 5, 4],
  [3, 12, 4, 5],
] as const;
const cases: [kernel: BothAxes, options: MaxPool2dOptions][] = [
  [1, {}],
  [2, {}],
  [2, { stride: 1 }],
  [3, { stride: 2, padding: 1 }],
  [[3, 2], { stride: [1, 2], padding: [2, 0] }],
  [2, { stride: 3 }],
];

for (const shape of shapes) {
  for (const [kernel, options] of cases) {
    const title = `maxPool2d: ${JSON.stringify({ kernel, ...options })} of [${shape}]`;
    eachDevice(test, title, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: { x: random.normals(shape) },
        run: ({ x }) => [maxPool2d(x, kernel, options)],
        reference: ({ x }) => [reference(x, kernel, options)],
        tolerance: 1e-6,
        // One pixel may be the largest of all windows; it gets the sum of their gradients, which are normal numbers.
        gradientScale: 1,
      }));
    });
  }
}

/** Values and gradients, exactly: few values, so that ties and NaNs abound. */
async function exact(device: Device, channels: number, pick: (count: number) => number) {
  const shape = [2, channels, 5, 6];
  const x = Float32Array.from({ length: 2 * channels * 30 }, () => [Number.NaN, -1, 0, 0, 2, 2][pick(6)]!);
  const [kernel, options] = [3, { stride: 2, padding: 1 }] as const;
  const { shape: pooled, places } = windows(shape, kernel, options);
  const dy = Float32Array.from(places, () => pick(5) - 2);
  const y = new Float32Array(places.length);
  const dx = new Float32Array(x.length);
  for (const [index, place] of places.entries()) {
    const largest = Math.max(...place.map((i) => x[i]!));
    const at = place.find((i) => Object.is(x[i], largest) || x[i] === largest)!;
    y[index] = largest;
    dx[at]! += dy[index]!;
  }
  const input = device.tensor(x, shape, { requiresGrad: true });
  const output = maxPool2d(input, kernel, options);
  const values = await output.data();
  backward(output, device.tensor(dy, pooled));
  return { got: [[...values], [...(await input.grad!.data())]], expected: [[...y], [...dx]] };
}

for (const channels of [5, 16]) {
  eachDevice(test, `maxPool2d: NaNs stay, ties go to the first: ${channels} channels`, async (t, device, random) => {
    const { got, expected } = await exact(device, channels, (count) => random.below(count));
    t.deepEqual(got, expected);
  });
}

for (const name of deviceNames.filter((name) => name !== 'cpu')) {
  for (const precision of ['fp16', 'bf16'] as const) {
    test(`maxPool2d: the same in ${precision} [${name}]`, async (t) => {
      using device = openDevice(name, { precision });
      await seeded(t, precision, async (random) => {
        const { got, expected } = await exact(device, 16, (count) => random.below(count));
        t.deepEqual(got, expected);
      });
    });
  }
}

eachDevice(test, 'maxPool2d: wrong arguments', (t, device) => {
  const x = device.ones([1, 2, 3, 4]);
  const failures: [call: () => unknown, code: string, message: RegExp][] = [
    [() => maxPool2d(x, 1.5), 'INVALID_ARGUMENT', /maxPool2d: kernel .*got 1\.5/],
    [() => maxPool2d(x, 0), 'INVALID_ARGUMENT', /maxPool2d: kernel .*at least 1.*got 0/],
    [() => maxPool2d(x, 2, { stride: 0 }), 'INVALID_ARGUMENT', /maxPool2d: stride .*got 0/],
    [() => maxPool2d(x, 2, { padding: -1 }), 'INVALID_ARGUMENT', /maxPool2d: padding .*got -1/],
    [() => maxPool2d(x, 2, { padding: [0, 2] }), 'INVALID_ARGUMENT', /maxPool2d: padding .*less than.*\[0, 2, 0, 2\]/],
    [() => maxPool2d(x, [1, 2, 3] as never), 'INVALID_ARGUMENT', /maxPool2d: kernel .*got 1,2,3/],
    [() => maxPool2d(x, 4), 'SHAPE_MISMATCH', /maxPool2d: the window \[4, 4\] .*\[1, 2, 3, 4\]/],
    [() => maxPool2d(device.ones([3, 2]), 1), 'SHAPE_MISMATCH', /maxPool2d: x .*got \[3, 2\]/],
  ];
  for (const [call, code, message] of failures) t.throws(call, { code, message } as object, String(message));
});

eachDevice(test, 'MaxPool2d: its spec builds the same layer', async (t, device, random) => {
  const x = device.tensor(Float32Array.from(random.normals([1, 3, 6, 5]).data), [1, 3, 6, 5]);
  for (const layer of [new MaxPool2d(2), new MaxPool2d([3, 2], { stride: [2, 1], padding: 1 })]) {
    const built = buildModel(device, specOf(layer)!) as MaxPool2d;
    t.deepEqual(await built.forward(x).data(), await layer.forward(x).data());
  }
  t.throws(() => buildModel(device, { type: 'MaxPool2d', kernel: 0 }), { message: /spec\.kernel: .*got 0/ } as object);
});
