/**
 * Tolerances for devices that store activations in float16 or bfloat16, or round products to TF32.
 */
import type { Precision } from '../../lib/index.js';
import type { Tolerance } from './compare.js';

/** The largest relative error of one rounding: 2^-p for p bits of mantissa, the leading one included. */
const roundoff = { tf32: 2 ** -11, fp16: 2 ** -11, bf16: 2 ** -8 } as const;

/**
 * Tolerances of a file's family (A and B: layers, C1: convolutions, C2: blocks, D: networks) on a device of this
 * precision, for relative errors in the Euclidean norm; null where activations keep float32.
 *
 * With u the error of one rounding:
 *
 * - forward: 2u for a layer, whose input and output are rounded; 4u for blocks and networks, whose roundings are
 *   independent, and whose normalizations keep errors from growing
 * - gradients of a layer: 4u, for x, y, dy and dx
 * - gradients of blocks and networks: 8·sqrt(u). A ReLU's argument closer to 0 than its rounding changes its sign; that
 *   happens to a share of about u of the entries of each layer, and changes them wholly, so the norm by sqrt(u) a layer.
 *   Sums that nearly cancel, as beta's in a micro-batch, and eight layers make up the factor
 * - after updates: 2·sqrt(u), as the gradient's error enters with a small learning rate
 */
export function shortTolerances(precision: Precision, family: string): ((name: string) => Tolerance) | null {
  if (precision === 'fp32') return null;
  const u = roundoff[precision];
  const deep = family === 'C2' || family === 'D';
  return (name) => {
    const group = name.split('/')[0] as string;
    const updated = /^(step|after|infer_after)[1-9]/.test(group) && family === 'D';
    const gradient = group.startsWith('grad');
    const relative = updated ? 2 * Math.sqrt(u) : gradient ? (deep ? 8 * Math.sqrt(u) : 4 * u) : deep ? 4 * u : 2 * u;
    return { metric: 'l2', relative };
  };
}
