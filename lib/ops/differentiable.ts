import type { Handle, Maybe } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { record } from '../autograd.js';
import { check } from '../errors.js';
import type { BackwardContext } from '../tape.js';
import { type Device, Tensor } from '../tensor.js';

type Inputs = Record<string, Tensor | null>;
type Results = Record<string, Maybe>;

type HandlesOf<In extends Inputs> = { [K in keyof In]: In[K] extends Tensor ? Handle : Maybe };
type TensorsOf<Out extends Results> = { [K in keyof Out]: Out[K] extends Handle ? Tensor : Tensor | null };

/** Gradients of the outputs by name. One at least came: that of a single output is there, of several some may not. */
type Incoming<Names extends PropertyKey> = { readonly [K in Names]: [Names] extends [K] ? Handle : Maybe };

/** What an operation's backward gets. @internal */
export interface Backward<Input extends PropertyKey, Output extends PropertyKey, Saved> {
  /** What `save` asked for. */
  saved: Saved;
  grads: Incoming<Output>;
  /** The gradient that the first input has from elsewhere, where the operation absorbs it: backward returns the sum. */
  existing: Maybe;
  /** For how many virtual samples the gradient of the first input needs room behind its own. */
  virtualSamples: number;
  /** Whether the gradient of an input is wanted. */
  wanted(input: Input): boolean;
  /** Whether it goes to a leaf, which takes a filter's in the type of activations, too. */
  toLeaf(input: Input): boolean;
  /** A gradient, or zeros of the shape of `like` where none came; they are freed after backward. */
  orZeros(gradient: Maybe, like: Handle): Handle;
}

/** A differentiable operation. The order of the properties is that in which the compiler infers their types. @internal */
export interface Definition<
  In extends Inputs,
  Out extends Results,
  Output extends keyof Out,
  Internal extends keyof Out,
  Saved extends Results,
> {
  name: string;
  /** The tensors that gradients may flow to. */
  inputs: In;
  /** Launches the operation. */
  forward(inputs: HandlesOf<In>): Out;
  /** The results that gradients come from. */
  outputs: readonly Output[];
  /** The results that nobody but backward needs. */
  internal?: readonly Internal[];
  /** What backward needs of inputs and results. Called only where gradients flow; the tape keeps and frees it. */
  save?(inputs: HandlesOf<In>, results: Out): Saved;
  /** Whether backward adds the gradient that the first input has from elsewhere, in the pass that it makes anyway. */
  absorbs?: boolean;
  /** Gradients of the inputs by name: new ones, or some of those that came. */
  backward(context: Backward<keyof In, Output, Saved>): { readonly [K in keyof In]?: Maybe };
}

/**
 * Runs an operation and puts it on the tape, if gradients flow through it.
 *
 * @returns the results of its forward, as tensors
 * @internal
 */
export function differentiable<
  In extends Inputs,
  Out extends Results,
  Output extends keyof Out,
  Internal extends keyof Out = never,
  Saved extends Results = Record<string, never>,
>(operation: Definition<In, Out, Output, Internal, Saved>): TensorsOf<Omit<Out, Internal>> {
  const { inputs, internal } = operation;
  const names = Object.keys(inputs);
  const sources = Object.values(inputs);
  for (const [i, source] of sources.entries()) {
    if (source !== null && !(source instanceof Tensor)) checkTensors(operation.name, { [names[i] as string]: source });
  }
  check(
    sources.some((source) => source !== null),
    'INVALID_ARGUMENT',
    `${operation.name}: ${names[0]} must be a tensor`,
  );
  const { device } = sources.find((input) => input !== null) as Tensor;
  // Copies with other values: cheaper than objects that grow by one name after the other.
  const handles: Record<string, unknown> = { ...inputs };
  for (const name of names) handles[name] = inputs[name]?.handle ?? null;
  const results = operation.forward(handles as HandlesOf<In>);
  const tensors: Record<string, Maybe | Tensor> = { ...results };
  for (const name in tensors) {
    const handle = results[name];
    tensors[name] = handle && !internal?.includes(name as string as Internal) ? new Tensor(device, handle) : null;
  }
  const outputs = operation.outputs.map((output) => tensors[output as string] as Tensor);
  record(sources, outputs, () => taped(operation, names, handles as HandlesOf<In>, results, device));
  if (internal) for (const name of internal) results[name]?.dispose();
  return tensors as TensorsOf<Omit<Out, Internal>>;
}

/** An operation for the tape. */
function taped<
  In extends Inputs,
  Out extends Results,
  Output extends keyof Out,
  Internal extends keyof Out,
  Saved extends Results,
>(
  operation: Definition<In, Out, Output, Internal, Saved>,
  names: readonly string[],
  handles: HandlesOf<In>,
  results: Out,
  device: Device,
) {
  const { name, outputs, absorbs = false } = operation;
  const saved: Record<string, Maybe> = { ...operation.save?.(handles, results) };
  for (const key in saved) saved[key] = saved[key]?.share() ?? null;
  return {
    name,
    saved: Object.values(saved),
    absorbs,
    backward({ grads, existing, virtualSamples, wanted, toLeaf }: BackwardContext): Maybe[] {
      const zeros: Handle[] = [];
      const given = operation.backward({
        saved: saved as Saved,
        grads: Object.fromEntries(outputs.map((output, i) => [output, grads[i] ?? null])) as Incoming<Output>,
        existing,
        virtualSamples,
        wanted: (input) => wanted(names.indexOf(input as string)),
        toLeaf: (input) => toLeaf(names.indexOf(input as string)),
        orZeros(gradient, like) {
          if (gradient) return gradient;
          const { shape, format } = like;
          const made = native.full({ device: device.native, shape, dtype: 'float32', format, value: 0 });
          zeros.push(made);
          return made;
        },
      });
      const gradients = names.map((input) => {
        const gradient = given[input] ?? null;
        return gradient && (grads.includes(gradient) || zeros.includes(gradient)) ? gradient.share() : gradient;
      });
      for (const handle of zeros) handle.dispose();
      return gradients;
    },
  };
}

/**
 * A differentiable operation that makes one tensor of one.
 *
 * @internal
 */
export function unary<Saved extends Results = Record<string, never>>(
  name: string,
  x: Tensor,
  operation: {
    forward(x: Handle): Handle;
    /** What backward needs of input and output. */
    save?(x: Handle, y: Handle): Saved;
    /** The gradient of x. `virtualSamples`: for how many it needs room behind its own. */
    backward(context: { dy: Handle; saved: Saved; virtualSamples: number }): Handle;
  },
): Tensor {
  checkTensors(name, { x });
  const { forward, save, backward } = operation;
  return differentiable({
    name,
    inputs: { x },
    forward: (inputs) => ({ y: forward(inputs.x) }),
    outputs: ['y'],
    save: (inputs, results) => save?.(inputs.x, results.y) ?? ({} as Saved),
    backward: ({ grads, saved, virtualSamples }) => ({
      x: backward({ dy: grads.y, saved, virtualSamples }),
    }),
  }).y;
}
