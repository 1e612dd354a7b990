import type { Handle, Maybe } from './addon/contract.js';
import { native } from './addon/load.js';
import { check } from './errors.js';
import { adopt, release } from './scope.js';
import { valuesOf } from './shape.js';

/** What an operation's backward gets. */
export interface BackwardContext {
  /** The gradient of each output; null where none came. One at least did. */
  grads: readonly Maybe[];
  /** The gradient that the first input has from elsewhere, where the operation absorbs it: it returns the sum. */
  existing: Maybe;
  /** For how many virtual samples the gradient of the first input needs room behind its own. */
  virtualSamples: number;
  /** Whether the gradient of an input is wanted. */
  wanted(input: number): boolean;
  /** Whether it goes to a leaf, which takes a filter's in the type of activations, too. */
  toLeaf(input: number): boolean;
}

/** An operation as the tape knows it; see ops/differentiable.ts for how they are written. */
export interface Operation {
  name: string;
  /** Number of outputs that gradients come from. */
  outputs: number;
  /** Memory that backward needs, as own references; the tape frees them. */
  saved: readonly Maybe[];
  /** Whether backward itself adds the gradient that the first input has from elsewhere. */
  absorbs: boolean;
  /** Gradients of the inputs as own references; null where none flows. */
  backward(context: BackwardContext): readonly Maybe[];
}

/** What ends a path of gradients: a tensor that no operation made. */
export interface Leaf {
  /** The gradient that it has. */
  readonly grad: { readonly handle: Handle } | null;
  /** Gives it another gradient, as an own reference. */
  setGrad(gradient: Handle): void;
}

/** Where an input's gradient goes: to an output of an earlier operation, or to a leaf; null for nowhere. */
export type Edge = { node: TapeNode; output: number; virtualSamples: number } | { leaf: Leaf } | null;

let sequence = 0;

/** An operation on the tape, with the gradients that have come to its outputs. */
export class TapeNode {
  /** Grows with every operation: backward runs them in descending order. */
  readonly id = sequence++;
  readonly grads: Maybe[];
  private spent = false;

  constructor(
    readonly operation: Operation,
    readonly edges: readonly Edge[],
  ) {
    this.grads = new Array(operation.outputs).fill(null);
    adopt(this);
  }

  /** Adds a gradient, given as an own reference, to that of an output. */
  accumulate(output: number, gradient: Handle): void {
    this.grads[output] = sumInto(this.grads[output] ?? null, gradient);
  }

  /** Takes the gradient of an output away. */
  private take(output: number): Maybe {
    const gradient = this.grads[output] ?? null;
    this.grads[output] = null;
    return gradient;
  }

  /** Hands the outputs' gradients on to where the inputs came from, those of leaves to `leaves`, and frees the node. */
  run(leaves: LeafGradients): void {
    try {
      this.propagate(leaves);
    } finally {
      this.dispose();
    }
  }

  private propagate(leaves: LeafGradients): void {
    const { operation, edges } = this;
    check(
      !this.spent,
      'INVALID_STATE',
      `backward: the graph behind ${operation.name} was freed by an earlier backward or the end of its scope`,
    );
    const first = edges[0] && 'node' in edges[0] ? edges[0] : null;
    const existing = first && operation.absorbs ? first.node.take(first.output) : null;
    const results = operation.backward({
      grads: this.grads,
      existing,
      virtualSamples: first?.virtualSamples ?? 0,
      wanted: (input) => edges[input] !== null,
      toLeaf: (input) => 'leaf' in (edges[input] ?? {}),
    });
    existing?.dispose();
    edges.forEach((edge, i) => {
      const gradient = results[i];
      if (!gradient) return;
      if (!edge) gradient.dispose();
      else if ('node' in edge) edge.node.accumulate(edge.output, gradient);
      else leaves.add(edge.leaf, gradient);
    });
  }

  /** Frees what backward would have needed. */
  dispose(): void {
    // A gradient may have come to a node that was freed before.
    for (const handle of this.grads) handle?.dispose();
    this.grads.fill(null);
    if (this.spent) return;
    this.spent = true;
    for (const handle of this.operation.saved) handle?.dispose();
    release(this);
  }
}

/** Gradients of more values are added as they come: a GPU takes longer for one such sum than waiting saves it. */
const MOST_WAITING = 2 ** 18;

/**
 * The gradients that come to leaves in a backward, each leaf's added up in the order of their coming. Networks have
 * many small parameters with two gradients each, of a convolution and of a transition, say: the last sums of all leaves
 * are one launch, at the end. So a gradient waits beside the sum of those before it, and never more than one. The same
 * launch widens filters' gradients that are alone, where they are stored in 16 bits.
 */
export class LeafGradients {
  /** What a leaf had and what came: a gradient, or two that are to be added. */
  private readonly found = new Map<Leaf, Handle[]>();

  /** Takes a gradient, as an own reference. */
  add(leaf: Leaf, gradient: Handle): void {
    const gradients = this.found.get(leaf) ?? (leaf.grad ? [leaf.grad.handle.share()] : []);
    this.found.set(leaf, gradients);
    if (gradients.length === 2) sumEach([gradients]);
    gradients.push(gradient);
    if (gradients.length === 2 && valuesOf(gradient.shape) > MOST_WAITING) sumEach([gradients]);
  }

  /** Adds what waits, and gives leaves their gradients: some, to which no more comes, or all. */
  deliver(leaves: Iterable<Leaf> = [...this.found.keys()]): void {
    const delivered = [...leaves].flatMap((leaf) => {
      const gradients = this.found.get(leaf);
      return gradients ? [{ leaf, gradients }] : [];
    });
    const lists = delivered.map(({ gradients }) => gradients);
    sumEach(lists.filter(([first, second]) => second || first?.format === 'filter'));
    for (const { leaf, gradients } of delivered) {
      leaf.setGrad(gradients[0] as Handle);
      this.found.delete(leaf);
    }
  }

  /** Frees what has not been delivered: leaves keep what they had. */
  dispose(): void {
    for (const handle of [...this.found.values()].flat()) handle.dispose();
    this.found.clear();
  }
}

/** Replaces one or two gradients by their sum, in each list. */
function sumEach(lists: readonly Handle[][]): void {
  const sums = native.addEach({ pairs: lists.map(([a, b]) => ({ a: a as Handle, b: b ?? null })) });
  for (const [i, list] of lists.entries()) {
    for (const handle of list.splice(0, 2, sums[i] as Handle)) handle.dispose();
  }
}

/** The sum of two gradients, which it takes over; the second alone where there is no first. */
export function sumInto(a: Maybe, b: Handle): Handle {
  if (!a) return b;
  const result = native.add({ a, b });
  a.dispose();
  b.dispose();
  return result;
}
