import type { ExecutionContext } from 'ava';
import type { Tensor } from '../../lib/index.js';
import { dot } from './array.js';

/**
 * Checks the gradients of a network's loss against central differences of the loss itself, in float32: along its own
 * gradient g, the loss changes by |g| a unit of each parameter.
 *
 * ReLUs that a step takes over their kink, and the curvature, make an error that shrinks with the step; rounding makes one
 * that grows. So where a difference is too far off, a step of a fifth has to agree, within the same bound: a gradient that
 * is wrong disagrees with both.
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
    const slopeOf = async (step: number) => ((await at(step)) - (await at(-step))) / (2 * step);
    const agrees = (slope: number) => Math.abs(slope / norm - 1) < allowed;
    let slope = await slopeOf(change / norm);
    if (!agrees(slope)) slope = await slopeOf(change / norm / 5);
    parameter.write(original);
    t.true(agrees(slope), `${name}: the loss changes by ${slope} a unit, its gradient is ${norm}`);
  }
}
