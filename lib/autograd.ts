import type { Handle } from './addon/contract.js';
import { native } from './addon/load.js';
import { checkTensors } from './arguments.js';
import { callSynchronous, check } from './errors.js';
import { LeafGradients, type Operation, TapeNode } from './tape.js';
import type { Tensor } from './tensor.js';

let enabled = true;

/** Whether an operation on these inputs would be put on the tape. @internal */
export function gradientsWanted(inputs: readonly (Tensor | null)[]): boolean {
  return enabled && inputs.some((input) => input?.requiresGrad);
}

/**
 * Puts an operation on the tape, if gradients flow through it. `operation` is called only then, so that nothing is saved
 * in vain.
 *
 * @param outputs those that gradients come from
 * @internal
 */
export function record(
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  operation: () => Omit<Operation, 'outputs'>,
): void {
  if (!gradientsWanted(inputs)) return;
  const node = new TapeNode(
    { ...operation(), outputs: outputs.length },
    inputs.map((input) => input?.edge ?? null),
  );
  outputs.forEach((output, i) => {
    output.requiresGrad = true;
    output.node = node;
    output.output = i;
  });
}

/**
 * Brings the gradients of `outputs` to all leaves that require them, adding to what their `grad` holds, and frees the
 * graph. Operations run backward in the reverse order of their forward; at the end of it leaves get their gradients, none
 * of them where it throws.
 *
 * @param outputs one or several tensors
 * @param gradients what flows into each output; default: ones, for outputs of one value
 * @throws KalmanNormError `INVALID_STATE` where an output has no graph, or it was freed by an earlier backward
 */
export function backward(outputs: Tensor | readonly Tensor[], gradients?: Tensor | readonly Tensor[]): void {
  const roots = Array.isArray(outputs) ? (outputs as readonly Tensor[]) : [outputs as Tensor];
  const seeds = gradients === undefined ? undefined : Array.isArray(gradients) ? gradients : [gradients];
  check(
    !seeds || seeds.length === roots.length,
    'INVALID_ARGUMENT',
    `backward: expected ${roots.length} gradients, got ${seeds?.length}`,
  );
  roots.forEach((root, i) => {
    checkTensors('backward', { output: root });
    if (seeds) checkTensors('backward', { gradient: seeds[i] });
    check(
      root.node !== null,
      'INVALID_STATE',
      'backward: the tensor has no graph: nothing it came from requires gradients',
    );
    const seed = seeds?.[i] as Tensor | undefined;
    if (!seed) {
      check(
        root.size === 1,
        'SHAPE_MISMATCH',
        () => `backward: a gradient is needed for an output of shape [${root.shape.join(', ')}]`,
      );
    } else {
      check(
        seed.shape.length === root.shape.length && seed.shape.every((size, axis) => size === root.shape[axis]),
        'SHAPE_MISMATCH',
        () => `backward: the gradient must have shape [${root.shape.join(', ')}], got [${seed.shape.join(', ')}]`,
      );
    }
  });
  const reached = new Set<TapeNode>();
  roots.forEach((root, i) => {
    const node = root.node as TapeNode;
    const seed = seeds?.[i] as Tensor | undefined;
    node.accumulate(root.output, seed ? seed.handle.share() : onesLike(root));
    reached.add(node);
  });
  for (const node of reached) {
    for (const edge of node.edges) {
      if (edge && 'node' in edge) reached.add(edge.node);
    }
  }
  const leaves = new LeafGradients();
  try {
    for (const node of [...reached].sort((a, b) => b.id - a.id)) {
      if (node.grads.some((grad) => grad !== null)) node.run(leaves);
      else node.dispose();
    }
    leaves.deliver();
  } finally {
    leaves.dispose();
  }
}

/** The gradient of an output with respect to itself. */
function onesLike({ device, shape, format }: Tensor): Handle {
  return native.full({ device: device.native, shape, dtype: 'float32', format, value: 1 });
}

/**
 * Runs `body` without putting operations on the tape.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` where `body` is asynchronous: its operations would be on the tape
 */
export function noGrad<T>(body: () => T): T {
  const outer = enabled;
  enabled = false;
  try {
    return callSynchronous('noGrad', body);
  } finally {
    enabled = outer;
  }
}
