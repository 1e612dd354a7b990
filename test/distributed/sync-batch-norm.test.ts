import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestFn } from 'ava';
import {
  BatchNorm2d,
  backward,
  type Device,
  noGrad,
  openDevice,
  openProcessGroup,
  type ProcessGroup,
  processGroupProblem,
  SyncBatchNorm2d,
} from '../../lib/index.js';
import { bits, closeTo, tolerance } from '../support/compare.js';
import { type DeviceBody, eachDevice } from '../support/devices.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-sync-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

const problem = processGroupProblem();
/** One at a time: whoever meets the others waits in one of libuv's four threads. */
const groupTest = (title: string, body: DeviceBody) =>
  problem ? test.skip(`SKIPPED, ${problem}: ${title}`, () => {}) : eachDevice(test.serial as TestFn, title, body);

let runs = 0;

/** A group whose processes are all this one. */
function openGroup(size: number): Promise<ProcessGroup[]> {
  const rendezvous = join(folder, String(++runs));
  return Promise.all(
    Array.from({ length: size }, (_, rank) => openProcessGroup({ place: { rank, size }, rendezvous, timeout: 60 })),
  );
}

const epsilon = 1e-3;

interface Batch {
  x: Float64Array;
  dy: Float64Array;
}

/** Values [N, C, pixels] of several parts, one channel's, with the part and the place that each has. */
function* ofChannel(parts: readonly Batch[], c: number, channels: number, pixels: number) {
  for (const [part, { x, dy }] of parts.entries()) {
    for (let i = 0; i < x.length; i++) {
      if (Math.floor(i / pixels) % channels === c) yield { part, i, x: x[i] as number, dy: dy[i] as number };
    }
  }
}

/** Batch normalization of all parts together, in float64. */
function reference(parts: readonly Batch[], channels: number, pixels: number, gamma: number[], beta: number[]) {
  const results = parts.map(({ x }) => ({
    y: new Float64Array(x.length),
    dx: new Float64Array(x.length),
    dgamma: new Float64Array(channels),
    dbeta: new Float64Array(channels),
  }));
  const means: number[] = [];
  const variances: number[] = [];
  for (let c = 0; c < channels; c++) {
    const values = [...ofChannel(parts, c, channels, pixels)];
    const average = (of: (value: (typeof values)[number]) => number) =>
      values.reduce((sum, value) => sum + of(value), 0) / values.length;
    const mean = average(({ x }) => x);
    const variance = average(({ x }) => (x - mean) ** 2);
    const rstd = 1 / Math.sqrt(variance + epsilon);
    const normal = (x: number) => (x - mean) * rstd;
    const [dmean, dslope] = [average(({ dy }) => dy), average(({ x, dy }) => dy * normal(x))];
    for (const { part, i, x, dy } of values) {
      const { y, dx, dgamma, dbeta } = results[part] as (typeof results)[number];
      y[i] = normal(x) * (gamma[c] as number) + (beta[c] as number);
      dx[i] = (gamma[c] as number) * rstd * (dy - dmean - normal(x) * dslope);
      dgamma[c] = (dgamma[c] as number) + dy * normal(x);
      dbeta[c] = (dbeta[c] as number) + dy;
    }
    means.push(mean);
    variances.push((variance * values.length) / (values.length - 1));
  }
  return { results, means, variances };
}

for (const [size, shape, affine] of [
  [2, [3, 5, 4, 3], true],
  [3, [1, 12, 3, 3], false],
  [2, [4, 8], true],
] as const) {
  const title = `SyncBatchNorm2d: ${size} parts of [${shape}]${affine ? '' : ' without affine'}, as one batch in float64`;
  groupTest(title, async (t, device, random) => {
    const [, channels] = shape;
    const count = shape.reduce((a: number, b) => a * b, 1);
    // Parts that lie far from each other: most of the variance is that of their means.
    const parts = Array.from({ length: size }, (_, part) => ({
      x: Float64Array.from(random.normals([count], 3 * part, 1.5).data),
      dy: Float64Array.from(random.normals([count]).data),
    }));
    const gamma = affine ? [...random.normals([channels], 1, 0.3).data] : new Array(channels).fill(1);
    const beta = affine ? [...random.normals([channels]).data] : new Array(channels).fill(0);
    const pixels = count / (shape[0] * channels);
    const { results, means, variances } = reference(parts, channels, pixels, gamma, beta);
    const groups = await openGroup(size);
    // A stream waits for the others, so that each part has a device of its own.
    const devices: Device[] = groups.map((_, rank) => (rank === 0 ? device : openDevice('cpu', { threads: 1 })));
    const layers = devices.map((own, rank) => {
      const layer = new SyncBatchNorm2d(own, channels, {
        epsilon,
        momentum: 1,
        affine,
        group: groups[rank] as ProcessGroup,
      });
      layer.gamma?.write(Float32Array.from(gamma));
      layer.beta?.write(Float32Array.from(beta));
      const [x, dy] = [parts[rank]?.x, parts[rank]?.dy].map((values) =>
        own.tensor(Float32Array.from(values ?? []), shape),
      );
      if (!x || !dy) throw new Error('no part');
      x.requiresGrad = true;
      const y = layer.forward(x);
      backward(y, dy);
      return { layer, x, y };
    });
    for (const [rank, { layer, x, y }] of layers.entries()) {
      const expected = results[rank] as (typeof results)[number];
      const close = async (name: string, values: Promise<ArrayLike<number>> | undefined, wanted: ArrayLike<number>) => {
        if (values) closeTo(t, await values, wanted, tolerance.normalization, `${name} of rank ${rank}`);
      };
      await close('y', y.data(), expected.y);
      await close('dx', x.grad?.data(), expected.dx);
      await close('dgamma', layer.gamma?.grad?.data(), expected.dgamma);
      await close('dbeta', layer.beta?.grad?.data(), expected.dbeta);
      await close('running mean', layer.runningMean.data(), means);
      await close('running variance', layer.runningVariance.data(), variances);
    }
    if (device.name === 'cpu') {
      const averages = await Promise.all(layers.map(async ({ layer }) => bits(await layer.runningVariance.data())));
      t.is(new Set(averages).size, 1, 'averages differ between processes');
    }
    for (const group of groups) group.close();
  });
}

groupTest('a recorded exchange gives what an eager one does', async (t, device, random) => {
  const groups = await openGroup(2);
  const devices = [device, openDevice('cpu', { threads: 1 })];
  const made = devices.map((own, rank) => {
    const layer = new SyncBatchNorm2d(own, 3, { group: groups[rank] as ProcessGroup, relu: true });
    const x = own.tensor(Float32Array.from(random.normals([2, 3, 2, 2], rank).data), [2, 3, 2, 2]);
    return { own, step: () => noGrad(() => layer.forward(x)) };
  });
  const results = made.map(({ step }) => step());
  const eager = await Promise.all(results.map((result) => result.data()));
  for (const result of results) result.dispose();
  const recorded = made.map(({ own, step }) => own.record(step));
  for (const { program } of recorded) program.run(2);
  for (const [rank, { result }] of recorded.entries()) t.deepEqual(await result.data(), eager[rank]);
  for (const group of groups) group.close();
});

eachDevice(test, 'without a group it is BatchNorm2d', async (t, device, random) => {
  const shape = [4, 6, 3, 3];
  const x = device.tensor(Float32Array.from(random.normals(shape).data), shape);
  const [sync, batch] = [new SyncBatchNorm2d(device, 6, { relu: true }), new BatchNorm2d(device, 6, { relu: true })];
  t.deepEqual(await sync.forward(x).data(), await batch.forward(x).data());
  t.deepEqual(await sync.runningVariance.data(), await batch.runningVariance.data());
  t.like(batch.spec(), { ...sync.spec(), type: 'BatchNorm2d' });
});

test('a group of another kind is refused', (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const layer = new SyncBatchNorm2d(device, 3);
  const x = device.ones([2, 3, 2, 2]);
  layer.group = { rank: 0, size: 2, collective: {} } as never;
  t.throws(() => layer.forward(x), { code: 'INVALID_ARGUMENT', message: /group must be the collective/ });
});
