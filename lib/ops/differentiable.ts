import type { Handle, Maybe } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { record } from '../autograd.js';
import { Tensor } from '../tensor.js';

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
  /** The gradient that the absorbed input has from elsewhere: backward returns the sum. */
  existing: Maybe;
  /** For how many virtual samples the gradient of an input needs room behind its own. */
  virtualSamples: { readonly [K in Input]: number };
  /** Whether the gradient of an input is wanted. */
  wanted: { readonly [K in Input]: boolean };
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
  /** An input whose gradient from elsewhere backward adds itself, in the pass that it makes anyway. */
  absorbs?: keyof In;
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
  const { name, inputs, internal, save, absorbs } = operation;
  const names = Object.keys(inputs) as (keyof In & string)[];
  const sources = Object.values(inputs);
  const { device } = sources.find((input) => input !== null) as Tensor;
  const handles = byName(names, (input) => inputs[input]?.handle ?? null) as HandlesOf<In>;
  const results = operation.forward(handles);
  const tensors: Record<PropertyKey, Tensor | null> = {};
  for (const [key, handle] of Object.entries(results)) {
    if (!internal?.includes(key as Internal)) tensors[key] = handle && new Tensor(device, handle);
  }
  const outputs = operation.outputs.map((output) => tensors[output] as Tensor);
  record(sources, outputs, () => {
    const saved = { ...save?.(handles, results) } as Record<string, Maybe>;
    for (const key in saved) saved[key] = saved[key]?.share() ?? null;
    return {
      name,
      saved: Object.values(saved),
      absorbs: absorbs === undefined ? -1 : names.indexOf(absorbs as keyof In & string),
      backward({ grads, existing, virtualSamples, wanted }) {
        const zeros: Handle[] = [];
        const orZeros = (gradient: Maybe, like: Handle) => {
          if (gradient) return gradient;
          const { shape, format } = like;
          const made = native.full({ device: device.native, shape, dtype: 'float32', format, value: 0 });
          zeros.push(made);
          return made;
        };
        const given = operation.backward({
          saved: saved as Saved,
          grads: byName(operation.outputs, (_, i) => grads[i] ?? null) as Incoming<Output>,
          existing: existing.find((gradient) => gradient !== null) ?? null,
          virtualSamples: byName<keyof In, number>(names, (_, i) => virtualSamples[i] ?? 0),
          wanted: byName<keyof In, boolean>(names, (_, i) => wanted[i] ?? false),
          orZeros,
        });
        const gradients = names.map((input) => {
          const gradient = given[input] ?? null;
          return gradient && (grads.includes(gradient) || zeros.includes(gradient)) ? gradient.share() : gradient;
        });
        for (const handle of zeros) handle.dispose();
        return gradients;
      },
    };
  });
  for (const key of internal ?? []) results[key]?.dispose();
  return tensors as TensorsOf<Omit<Out, Internal>>;
}

function byName<Name extends PropertyKey, Value>(
  names: readonly Name[],
  value: (name: Name, i: number) => Value,
): Record<Name, Value> {
  const object = {} as Record<Name, Value>;
  for (let i = 0; i < names.length; i++) object[names[i] as Name] = value(names[i] as Name, i);
  return object;
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
  const { forward, save, backward } = operation;
  return differentiable({
    name,
    inputs: { x },
    forward: (inputs) => ({ y: forward(inputs.x) }),
    outputs: ['y'],
    save: (inputs, results) => save?.(inputs.x, results.y) ?? ({} as Saved),
    backward: ({ grads, saved, virtualSamples }) => ({
      x: backward({ dy: grads.y, saved, virtualSamples: virtualSamples.x }),
    }),
  }).y;
}
