import type { Handle, Maybe } from './addon/contract.js';
import { native } from './addon/load.js';
import { check } from './errors.js';
import { adopt, release } from './scope.js';

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
  /** Adds a gradient, given as an own reference. */
  addGrad(gradient: Handle): void;
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

  /** Hands the outputs' gradients on to where the inputs came from, and frees the node. */
  run(): void {
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
    });
    existing?.dispose();
    edges.forEach((edge, i) => {
      const gradient = results[i];
      if (!gradient) return;
      if (!edge) gradient.dispose();
      else if ('node' in edge) edge.node.accumulate(edge.output, gradient);
      else edge.leaf.addGrad(gradient);
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

/** The sum of two gradients, which it takes over; the second alone where there is no first. */
export function sumInto(a: Maybe, b: Handle): Handle {
  if (!a) return b;
  const result = native.add({ a, b });
  a.dispose();
  b.dispose();
  return result;
}
