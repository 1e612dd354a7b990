import test from 'ava';
import {
  Belief,
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  HostRandom,
  kalmanResidual,
  ReferenceKalmanNorm2d,
  type Tensor,
} from '../../lib/index.js';
import { ReferenceKalmanBlock } from '../../lib/models/reference-kalman-block.js';
import { type NdArray, slice } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { checkLossSlope } from '../support/loss-slope.js';
import type { TestRandom } from '../support/random.js';
import { add as addArrays, conv2d, moments } from '../support/reference.js';
import * as kalman from '../support/reference-kalman.js';

for (const [shape, splits] of [
  [[3, 5, 3, 5], 1],
  [[4, 12, 3, 4], 2],
  [[8, 16, 2, 3], 4],
  [[64, 3, 2, 3], 64],
] as const) {
  eachDevice(test, `kalmanResidual: [${shape}] in ${splits}`, async (t, device, random) => {
    const [real, ...rest] = shape;
    const cells = splits * shape[1];
    await checkOp(t, device, random, () => ({
      inputs: {
        shortcut: random.normals(shape),
        mean: random.normals([cells]),
        variance: random.uniforms([cells], 0.1, 1),
        branch: random.normals([real + splits, ...rest]),
      },
      run: ({ shortcut, mean, variance, branch }) => {
        const { output, prior } = kalmanResidual(shortcut, new Belief(mean, variance, splits), branch);
        const known = output.moments!;
        return [output, prior.mean, prior.variance, known.mean.detach(), known.variance.detach()];
      },
      reference: ({ shortcut, mean, variance, branch }) => {
        const output = addArrays(shortcut, slice(branch, 0, real));
        const drawn = moments(slice(branch, real, real + splits), splits);
        const prior = kalman.addBeliefs({ mean, variance }, drawn);
        const known = moments(output, splits);
        return [output, prior.mean, prior.variance, known.mean, known.variance];
      },
      tolerance: tolerance.normalization,
    }));
  });
}

interface BlockShape {
  title: string;
  shape: readonly [number, number, number, number];
  splits: number;
  widens?: boolean;
  padding?: 'aligned' | 'reference';
}

const blocks: BlockShape[] = [
  { title: 'plain', shape: [3, 5, 5, 4], splits: 1 },
  { title: 'plain, splits', shape: [4, 8, 3, 5], splits: 2 },
  { title: 'widening, aligned', shape: [4, 8, 6, 4], splits: 2, widens: true },
  { title: 'widening, reference padding', shape: [4, 6, 4, 4], splits: 4, widens: true, padding: 'reference' },
];

/** Parameters of a block's convolutions and norms. */
function parameters(random: TestRandom, channels: number, outChannels: number) {
  const filter = (to: number, from: number) => ({
    ...random.normals([to, from, 3, 3], 0, Math.sqrt(2 / (9 * from))),
    format: 'filter' as const,
  });
  return {
    conv1: filter(outChannels, channels),
    conv2: filter(outChannels, outChannels),
    gamma1: random.normals([channels], 1, 0.2),
    beta1: random.normals([channels], 0, 0.3),
    gamma2: random.normals([outChannels], 1, 0.2),
    beta2: random.normals([outChannels], 0, 0.3),
  };
}

type Parameters<T> = Record<'conv1' | 'conv2' | 'gamma1' | 'beta1' | 'gamma2' | 'beta2', T>;

/** A block of the library whose parameters are the tensors under test. */
function libraryBlock(device: Device, c: BlockShape, gain: number, own: Parameters<Tensor>): ReferenceKalmanBlock {
  const { shape, splits, widens = false, padding = 'aligned' } = c;
  const norm = (channels: number, gamma: Tensor, beta: Tensor) =>
    Object.assign(new ReferenceKalmanNorm2d(device, channels, { splits, gain, relu: true }), { gamma, beta });
  const block = new ReferenceKalmanBlock(device, {
    inChannels: shape[1],
    widens,
    first: false,
    norm1: norm(shape[1], own.gamma1, own.beta1),
    norm2: norm(widens ? 2 * shape[1] : shape[1], own.gamma2, own.beta2),
    random: new HostRandom(0),
    beliefPadding: padding,
  });
  Object.assign(block.conv1, { weight: own.conv1 });
  Object.assign(block.conv2, { weight: own.conv2 });
  return block;
}

function drawerOf<T>(values: readonly T[]): () => T {
  let next = 0;
  return () => values[next++]!;
}

for (const c of blocks) {
  const { title, shape, splits, widens = false, padding = 'aligned' } = c;
  eachDevice(test, `ReferenceKalmanBlock: ${title}, [${shape}] in ${splits}`, async (t, device, random) => {
    const [, channels, height, width] = shape;
    const outChannels = widens ? 2 * channels : channels;
    const size = (length: number) => (widens ? Math.ceil(length / 2) : length);
    const gain = 0.3;
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals(shape),
        mean: random.normals([splits * channels], 0, 0.5),
        variance: random.uniforms([splits * channels], 0.5, 1.5),
        ...parameters(random, channels, outChannels),
        z1: { ...random.normals([splits, channels, height, width]), constant: true },
        z2: { ...random.normals([splits, outChannels, size(height), size(width)]), constant: true },
      },
      run: (tensors) => {
        const block = libraryBlock(device, c, gain, tensors);
        const draws = drawerOf([tensors.z1, tensors.z2]);
        const result = block.forward(tensors.x, new Belief(tensors.mean, tensors.variance, splits), draws);
        return [result.x, result.prior!.mean, result.prior!.variance];
      },
      reference: (arrays, hold) => {
        const result = kalman.kalmanBlock(
          {
            ...arrays,
            prior: { mean: arrays.mean, variance: arrays.variance },
            norm1: { gamma: arrays.gamma1, beta: arrays.beta1 },
            norm2: { gamma: arrays.gamma2, beta: arrays.beta2 },
            noise: [arrays.z1, arrays.z2],
            splits,
            gain,
            widens,
            aligned: padding === 'aligned',
          },
          hold,
        );
        return [result.x, result.prior.mean, result.prior.variance];
      },
      tolerance: tolerance.block,
    }));
  });
}

eachDevice(
  test,
  'ReferenceKalmanBlock: behind the first layer, and the last layer behind it',
  async (t, device, random) => {
    const [splits, channels, gain] = [2, 8, 0.3];
    const shape = [4, channels, 4, 3] as const;
    await checkOp(t, device, random, () => {
      const { gamma1, beta1, ...own } = parameters(random, channels, channels);
      const noise = () => ({ ...random.normals([splits, channels, 4, 3]), constant: true });
      return {
        inputs: { x: random.normals(shape), gamma0: gamma1, beta0: beta1, ...own, z0: noise(), z1: noise() },
        run: (tensors) => {
          const { x, gamma0, beta0, gamma2, beta2 } = tensors;
          const norm = (gamma: Tensor, beta: Tensor) =>
            Object.assign(new ReferenceKalmanNorm2d(device, channels, { splits, gain, relu: true }), { gamma, beta });
          const start = norm(gamma0, beta0).step(x, null, tensors.z0);
          const block = new ReferenceKalmanBlock(device, {
            inChannels: channels,
            widens: false,
            first: true,
            norm1: null,
            norm2: norm(gamma2, beta2),
            random: new HostRandom(0),
            beliefPadding: 'aligned',
          });
          Object.assign(block.conv1, { weight: tensors.conv1 });
          Object.assign(block.conv2, { weight: tensors.conv2 });
          const result = block.forward(start.output, start.posterior, drawerOf([tensors.z1]));
          return [norm(gamma0, beta0).step(result.x, result.prior).output];
        },
        reference: (arrays, hold) => {
          const { x, gamma0, beta0, gamma2, beta2, conv1, conv2: second } = arrays;
          const outer = { gamma: gamma0, beta: beta0, relu: true, splits, gain };
          const start = kalman.kalmanNorm(x, { ...outer, prior: null }, hold);
          const options = { norm1: {}, norm2: { gamma: gamma2, beta: beta2 }, splits, gain, widens: false };
          const noise: [NdArray, NdArray] = [arrays.z0, arrays.z1];
          const result = kalman.kalmanBlock(
            {
              x: start.output,
              prior: start.posterior,
              first: true,
              conv1,
              conv2: second,
              noise,
              aligned: true,
              ...options,
            },
            hold,
          );
          return [kalman.kalmanNorm(result.x, { ...outer, prior: result.prior }, hold).output];
        },
        tolerance: tolerance.block,
      };
    });
  },
);

/**
 * Along its own gradient g, the loss of a parameter changes by |g| a unit. The step moves the loss by ±CHANGE. Float32
 * holds a loss of 2.3 to 2.4e-7, which with the network's own rounding makes some 1e-6 / CHANGE = 0.2 %; the curvature,
 * and the ReLUs that the step takes over their kink, grow with CHANGE and are as much again. (At 2e-3 the worst
 * parameter is off by 2 %, at 5e-4 and 1e-3 by 0.6 %, at 2e-4 by 0.8 %.)
 */
const CHANGE = 5e-4;
const ALLOWED = 0.02;

eachDevice(
  test,
  'KN network: finite differences of its own loss, parameter by parameter',
  async (t, device, random) => {
    const [batch, splits, side] = [4, 2, 8];
    const model = new CifarResNet(device, { n: 1, norm: { type: 'reference-kalman', splits, gain: 0.1 }, seed: 3 });
    const upload = (x: NdArray) => device.tensor(Float32Array.from(x.data), x.shape);
    const images = upload(random.normals([batch, 3, side, side]));
    const labels = device.tensor(Int32Array.from({ length: batch }, () => random.below(10)));
    const noise = [
      [16, side],
      [16, side],
      [16, side],
      [32, side / 2],
      [32, side / 2],
      [64, side / 4],
    ].map(([channels, size]) => upload(random.normals([splits, channels!, size!, size!])));
    const lossOf = () => crossEntropy(model.forward(images, noise), labels).loss;

    backward(lossOf());
    await checkLossSlope(t, model.namedParameters(), lossOf, { change: CHANGE, allowed: ALLOWED });
    model.dispose();
  },
);

test('reference: a convolution that copies its input', (t) => {
  const x = { shape: [1, 1, 2, 2], data: Float64Array.of(1, 2, 3, 4) };
  const one = { shape: [1, 1, 1, 1], data: Float64Array.of(1) };
  t.deepEqual(conv2d(x, one, [1, 1], [0, 0, 0, 0]), x);
});
