import test from 'ava';
import { Belief, backward, conv2d, reshape, scale, scope, type Tensor } from '../lib/index.js';
import { propagate } from '../lib/kalman/index.js';
import { bits } from './support/compare.js';
import { eachDevice } from './support/devices.js';

/**
 * Convolutions, their gradients and transitions of beliefs are branches of a recorded step on CUDA, as far as they don't
 * need each other. The emulated device runs branches in another order each time, and fills freed memory with NaN.
 */
eachDevice(
  test,
  'recorded launches that need each other, or their memory, give the bits of eager ones',
  async (t, device, random) => {
    const tensor = (shape: readonly number[], format?: 'filter') =>
      device.tensor(Float32Array.from(random.normals(shape).data), shape, {
        requiresGrad: true,
        ...(format && { format }),
      });
    const images = tensor([4, 5, 3, 3]);
    const others = tensor([2, 6, 8, 7]);
    const filters = [
      [6, 5, 3, 3],
      [6, 6, 3, 3],
      [5, 6, 1, 1],
      [8, 6, 3, 3],
    ].map((shape) => tensor(shape, 'filter'));
    const [first, second, third, fourth] = filters as [Tensor, Tensor, Tensor, Tensor];
    const mean = tensor([6]);
    const variance = device.tensor(Float32Array.from(random.uniforms([6], 0.5, 2).data), [6], { requiresGrad: true });
    const leaves = [images, others, ...filters, mean, variance];
    const same = { padding: 1 };

    const step = () => {
      for (const leaf of leaves) leaf.zeroGrad();
      // Each convolution needs the one before it, and so do their gradients.
      const row = conv2d(conv2d(conv2d(images, first, same), second, same), third);
      // A filter that is another convolution's result, whose gradient is that of a filter first.
      const made = reshape(conv2d(images, first, same), [4, 6, 3, 3], 'filter');
      const byMade = conv2d(others, made, same);
      // Transitions of transitions, beside convolutions with the same filters.
      const size = { height: 8, width: 7, ...same };
      const inner = propagate(new Belief(mean, variance, 1), second, size);
      const outer = propagate(inner, fourth, size);
      const beside = conv2d(others, fourth, same);
      const outputs = [row, byMade, beside, outer.mean, outer.variance];
      backward(
        outputs,
        outputs.map((output) => scale(output.detach(), 0.5)),
      );
      return [
        ...outputs.map((output) => scale(output.detach(), 1)),
        ...leaves.map((leaf) => scale(leaf.grad as Tensor, 1)),
      ];
    };
    const read = async (results: readonly Tensor[]) => {
      const values = await Promise.all(results.map((result) => result.data()));
      return values.map((value) => bits(value as Float32Array));
    };
    const alone = scope(step);
    const eager = await read(alone);
    for (const tensor of alone) tensor.dispose();
    const { program, result } = device.record(() => scope(step));
    for (let run = 0; run < 12; run++) {
      program.run();
      t.deepEqual(await read(result), eager, `replay ${run}`);
    }
    program.dispose();
  },
);
