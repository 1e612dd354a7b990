import test from 'ava';
import { Belief, type Device, KalmanNorm2d, ReferenceKalmanNorm2d, scope, type Tensor } from '../../lib/index.js';
import { vector } from '../support/array.js';
import { closeTo, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as plain from '../support/reference.js';

const [CHANNELS, SPLITS] = [3, 4];

/** Layers with a step that has a prior. */
const layers: Record<string, (device: Device) => [KalmanNorm2d | ReferenceKalmanNorm2d, (x: Tensor) => Tensor]> = {
  KalmanNorm2d(device) {
    const norm = new KalmanNorm2d(device, CHANNELS, { splits: SPLITS, gain: 0.3 });
    return [norm, (x) => norm.filter({ x, belief: priorOf(device, 1) }).x];
  },
  ReferenceKalmanNorm2d(device) {
    const norm = new ReferenceKalmanNorm2d(device, CHANNELS, { splits: SPLITS, gain: 0.3 });
    return [norm, (x) => norm.step(x, priorOf(device, SPLITS)).output];
  },
};

function priorOf(device: Device, splits: number): Belief {
  return new Belief(device.full([splits * CHANNELS], 0.5), device.full([splits * CHANNELS], 2), splits);
}

for (const [name, make] of Object.entries(layers)) {
  eachDevice(test, `observer: what ${name} is shown is what it does`, async (t, device, random) => {
    const [norm, step] = make(device);
    const x = random.normals([8, CHANNELS, 5, 3], 0.5, 1.5);
    const reads: Promise<ArrayLike<number>>[] = [];
    norm.observer = ({ prior, belief, observation, posterior, gain }) => {
      for (const pair of [prior, belief, observation, posterior]) reads.push(pair!.mean.data(), pair!.variance.data());
      for (const weight of [gain.mean, gain.variance]) {
        reads.push(typeof weight === 'number' ? Promise.resolve([weight]) : weight.data());
      }
    };
    const run = () => scope(() => step(device.tensor(Float32Array.from(x.data), x.shape)));
    const output = run();
    const [priorMean, priorVar, , , mean, variance, center, spread, ...gains] = (await Promise.all(reads)).map(vector);
    t.deepEqual(new Set(priorMean!.data), new Set([0.5]));
    t.deepEqual(new Set(priorVar!.data), new Set([2]));
    const observation = plain.moments(x, SPLITS);
    closeTo(t, mean!.data, observation.mean.data, tolerance.normalization, 'observed mean');
    closeTo(t, variance!.data, observation.variance.data, tolerance.normalization, 'observed variance');
    const expected = plain.normalize(x, { mean: center!, variance: spread! });
    closeTo(t, await output.data(), expected.data, tolerance.normalization, 'output');
    for (const { data } of gains) t.deepEqual(new Set(data.map(Math.fround)), new Set([Math.fround(0.3)]));

    // Nothing is shown in inference, and nothing to nobody.
    norm.eval();
    run().dispose();
    norm.train().observer = null;
    run().dispose();
    t.is(reads.length, 10);
    output.dispose();
    norm.dispose();
  });
}
