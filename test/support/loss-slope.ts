import type { ExecutionContext } from 'ava';
import type { Tensor } from '../../lib/index.js';
import { dot } from './array.js';

/**
 * Checks the gradients of a network's loss against differences of the loss itself, in float32: along its own gradient g,
 * the loss changes by |g| a unit of each parameter.
 *
 * The curvature, and ReLUs that a step takes over their kink, make an error of the central difference that shrinks with
 * the step; rounding makes one that grows. So where it is too far off, a step of a fifth may agree, within the same bound.
 * A kink nearer than that lies on one side: there the difference towards the other side has to agree. (Seed 79966956: a
 * kink at 0.4 of the smaller step put the central difference off by 2.3 %, the one away from it by 0.1 %.) A gradient that
 * is wrong disagrees with all of them.
 *
 * @param change of the loss that a step makes, in either direction
 * @param allowed relative difference; the caller says why
 */
export async function checkLossSlope(
  t: ExecutionContext,
  parameters: Iterable<readonly [string, Tensor]>,
  lossOf: () => Tensor,
  { change, allowed }: { change: number; allowed: number },
): Promise<void> {
  for (const [name, parameter] of parameters) {
    const gradient = await parameter.grad!.data();
    const original = await parameter.data();
    const norm = Math.sqrt(dot(gradient, gradient));
    t.true(norm > 0, `${name} has a gradient`);
    const at = async (step: number) => {
      parameter.write(Float32Array.from(original, (value, i) => value + (step * gradient[i]!) / norm));
      return lossOf().item();
    };
    const here = await lossOf().item();
    const slopesOf = async (step: number) => {
      const [above, below] = [await at(step), await at(-step)];
      return { central: (above - below) / (2 * step), up: (above - here) / step, down: (here - below) / step };
    };
    const right = (slope: number) => Math.abs(slope / norm - 1) < allowed;
    let slopes = await slopesOf(change / norm);
    let agrees = right(slopes.central);
    if (!agrees) {
      slopes = await slopesOf(change / norm / 5);
      agrees = Object.values(slopes).some(right);
    }
    parameter.write(original);
    t.true(agrees, `${name}: the loss changes by ${JSON.stringify(slopes)} a unit, its gradient is ${norm}`);
  }
}
