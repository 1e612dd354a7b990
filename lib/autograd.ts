import type { Handle } from './addon/contract.js';
import { native } from './addon/load.js';
import { checkTensors, shown } from './arguments.js';
import { callSynchronous, check } from './errors.js';
import { checkOptions } from './options.js';
import { type Leaf, LeafGradients, type Operation, TapeNode } from './tape.js';
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

/** How {@link backward} hands out gradients as soon as they are final, those of last layers first. */
export interface GradientPortions {
  /** Number of values that make a portion, above 0; the last one has what is left. */
  size: number;
  /** Is called with leaves whose `grad` nothing adds to any more, and can enqueue what is to be done with them. */
  ready(leaves: readonly Tensor[]): void;
}

/** Options of {@link backward}. */
export interface BackwardOptions {
  /**
   * Hands gradients out while backward goes on; where it throws, leaves keep what was handed out. Default: leaves get
   * theirs at the end, all together.
   */
  portions?: GradientPortions;
}

/**
 * Brings the gradients of `outputs` to all leaves that require them, adding to what their `grad` holds, and frees the
 * graph. Operations run backward in the reverse order of their forward; at the end of it leaves get their gradients, none
 * of them where it throws.
 *
 * @param outputs one or several tensors
 * @param gradients what flows into each output; default: ones, for outputs of one value
 * @throws KalmanNormError `INVALID_STATE` where an output has no graph, or it was freed by an earlier backward;
 *   `INVALID_ARGUMENT` for portions without a size or a function
 */
export function backward(
  outputs: Tensor | readonly Tensor[],
  gradients?: Tensor | readonly Tensor[],
  options: BackwardOptions = {},
): void {
  checkOptions('backward', options, { portions: true });
  const { portions } = options;
  check(
    portions === undefined || (portions !== null && portions.size > 0 && typeof portions.ready === 'function'),
    'INVALID_ARGUMENT',
    () => `backward: portions must have a size above 0 and a function ready, got ${shown(portions)}`,
  );
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
  const nodes = [...reached].sort((a, b) => b.id - a.id);
  const final = portions && finalLeaves(nodes);
  const leaves = new LeafGradients();
  let portion: Tensor[] = [];
  try {
    for (const node of nodes) {
      if (node.grads.some((grad) => grad !== null)) node.run(leaves);
      else node.dispose();
      portion.push(...(final?.get(node) ?? []));
      if (!portions || portion.length === 0 || valuesOf(portion) < portions.size) continue;
      leaves.deliver(portion);
      portions.ready(portion);
      portion = [];
    }
    leaves.deliver();
    if (portion.length > 0) portions?.ready(portion);
  } finally {
    leaves.dispose();
  }
}

/** The leaves that no later node in this order adds to. */
function finalLeaves(nodes: readonly TapeNode[]): Map<TapeNode, Tensor[]> {
  const last = new Map<Leaf, TapeNode>();
  for (const node of nodes) for (const edge of node.edges) if (edge && 'leaf' in edge) last.set(edge.leaf, node);
  const final = new Map<TapeNode, Tensor[]>();
  for (const [leaf, node] of last) final.set(node, [...(final.get(node) ?? []), leaf as Tensor]);
  return final;
}

function valuesOf(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { size }) => sum + size, 0);
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
