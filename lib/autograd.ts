import { callSynchronous, check } from './errors.js';
import { type Handle, type Maybe, native } from './native.js';
import { adopt, release } from './scope.js';
import type { Tensor } from './tensor.js';

/** What an operation's backward gets. */
export interface BackwardContext {
  /** The gradient of each output; null where none came. */
  grads: readonly Maybe[];
  /** For each input, the gradient that it has from elsewhere. An operation that absorbs it returns the sum. */
  existing: readonly Maybe[];
  /** For each input, how many samples its gradient needs room for behind its own. */
  room: readonly number[];
  /** For each input, whether its gradient is wanted. */
  wanted: readonly boolean[];
}

/** An operation as its op family describes it to the tape. */
export interface Operation {
  name: string;
  inputs: readonly (Tensor | null)[];
  outputs: readonly Tensor[];
  /** Memory that backward needs, as own references; the tape frees them. */
  saved: readonly Maybe[];
  /** Inputs whose existing gradient backward adds itself. */
  absorbs?: readonly number[];
  /** Gradients of the inputs as own references; null where none flows. */
  backward(context: BackwardContext): readonly Maybe[];
}

/** Where an input's gradient goes: to an output of an earlier operation, or to a leaf. */
type Edge = { node: TapeNode; output: number; room: number } | { leaf: Tensor } | null;

let sequence = 0;
let enabled = true;

/** An operation on the tape. @internal */
export class TapeNode {
  readonly id = sequence++;
  readonly edges: readonly Edge[];
  readonly grads: Maybe[];
  private spent = false;

  constructor(readonly operation: Operation) {
    this.edges = operation.inputs.map((input) => {
      if (!input?.requiresGrad) return null;
      return input.node ? { node: input.node, output: input.output, room: input.gradientRoom } : { leaf: input };
    });
    this.grads = operation.outputs.map(() => null);
    adopt(this);
  }

  /** Adds a gradient, given as an own reference, to that of an output. */
  accumulate(output: number, gradient: Handle): void {
    const existing = this.grads[output];
    this.grads[output] = existing ? sum(existing, gradient) : gradient;
  }

  run(): void {
    check(
      !this.spent,
      'INVALID_STATE',
      `backward: the graph behind ${this.operation.name} was freed by an earlier backward or the end of its scope`,
    );
    const { absorbs = [] } = this.operation;
    const taken = this.edges.map((edge, i) => {
      if (!edge || !('node' in edge) || !absorbs.includes(i)) return null;
      const existing = edge.node.grads[edge.output] ?? null;
      edge.node.grads[edge.output] = null;
      return existing;
    });
    const results = this.operation.backward({
      grads: this.grads,
      existing: taken,
      room: this.edges.map((edge) => (edge && 'node' in edge ? edge.room : 0)),
      wanted: this.edges.map((edge) => edge !== null),
    });
    for (const handle of taken) handle?.dispose();
    this.edges.forEach((edge, i) => {
      const gradient = results[i];
      if (!gradient) return;
      if (!edge) gradient.dispose();
      else if ('node' in edge) edge.node.accumulate(edge.output, gradient);
      else edge.leaf.setGrad(edge.leaf.grad ? sum(edge.leaf.grad.handle.share(), gradient) : gradient);
    });
    this.dispose();
  }

  /** Frees what backward would have needed. */
  dispose(): void {
    if (this.spent) return;
    this.spent = true;
    for (const handle of this.operation.saved) handle?.dispose();
    for (const handle of this.grads) handle?.dispose();
    this.grads.fill(null);
    release(this);
  }
}

function sum(a: Handle, b: Handle): Handle {
  const result = native.add(a, b);
  a.dispose();
  b.dispose();
  return result;
}

/** Whether an operation on these inputs would be put on the tape. @internal */
export function gradientsWanted(inputs: readonly (Tensor | null)[]): boolean {
  return enabled && inputs.some((input) => input?.requiresGrad);
}

/**
 * Puts an operation on the tape, if gradients flow through it. `operation` is called only then, so that nothing is saved
 * in vain.
 *
 * @internal
 */
export function record(inputs: readonly (Tensor | null)[], operation: () => Operation): void {
  if (!gradientsWanted(inputs)) return;
  const node = new TapeNode(operation());
  node.operation.outputs.forEach((output, i) => {
    output.requiresGrad = true;
    output.node = node;
    output.output = i;
  });
}

/**
 * Brings the gradients of `outputs` to all leaves that require them, adding to what their `grad` holds, and frees the
 * graph. Operations run backward in the reverse order of their forward.
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
    node.accumulate(
      root.output,
      seed ? seed.handle.share() : native.full(root.device.native, root.shape, 'float32', root.format, 1),
    );
    reached.add(node);
  });
  for (const node of reached) {
    for (const edge of node.edges) {
      if (edge && 'node' in edge) reached.add(edge.node);
    }
  }
  for (const node of [...reached].sort((a, b) => b.id - a.id)) {
    if (node.grads.some((grad) => grad !== null)) node.run();
    else node.dispose();
  }
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
