import { check, KalmanNormError } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { noScope } from '../scope.js';
import { checkNotRecording, readState, type StateValues, writeState } from '../state.js';
import type { Tensor } from '../tensor.js';
import type { Filtered } from './filtered.js';

/** Plain JSON. */
export type SpecValue = string | number | boolean | null | readonly SpecValue[] | { readonly [key: string]: SpecValue };

/** A module's architecture as plain JSON: its registered type, and what its constructor needs to know. */
export interface ModuleSpec {
  readonly type: string;
  readonly [option: string]: SpecValue;
}

/**
 * Base of all layers: finds parameters, buffers and sub-modules in its fields, so that a layer is an ordinary class.
 *
 * Fields are looked through with the arrays, maps, sets and plain objects in them, at any depth; positions and keys
 * become parts of the names ("stage1.0.conv1.weight"). A module or tensor may be held in several places: it has several
 * names then, but is one. A module's reference to one that holds it is left out; a private `#field` isn't looked into.
 */
export abstract class Module {
  /** Whether the module is in training mode; see {@link Module.train}. */
  training = true;

  /**
   * Marks a tensor as trained: it requires gradients, and scopes don't free it.
   *
   * @throws KalmanNormError `INVALID_STATE` within {@link Device.record}
   */
  protected parameter(make: () => Tensor): Tensor {
    const tensor = this.lasting(make);
    tensor.role = 'parameter';
    tensor.requiresGrad = true;
    return tensor;
  }

  /**
   * Marks a tensor as state that isn't trained, such as running averages.
   *
   * @throws KalmanNormError `INVALID_STATE` within {@link Device.record}
   */
  protected buffer(make: () => Tensor): Tensor {
    const tensor = this.lasting(make);
    tensor.role = 'buffer';
    return tensor;
  }

  private lasting(make: () => Tensor): Tensor {
    const tensor = noScope(make);
    if (tensor.device.recording) tensor.dispose();
    checkNotRecording(`${this.constructor.name}: can't be made`, tensor.device);
    return tensor;
  }

  /** Sub-modules with their names, in the order of the fields. */
  *children(): Generator<[string, Module]> {
    for (const [name, value] of contents(this)) if (value instanceof Module) yield [name, value];
  }

  /** This module and all within, each once. */
  modules(): Module[] {
    const found = new Set<Module>([this]);
    // A set's iteration reaches what is added on the way.
    for (const module of found) for (const [, child] of module.children()) found.add(child);
    return [...found];
  }

  private *named(role: Tensor['role'], prefix: string, holders: readonly Module[]): Generator<[string, Tensor]> {
    const path = [...holders, this];
    for (const [name, value] of contents(this)) {
      if (isTensor(value) && value.role === role) yield [prefix + name, value];
    }
    for (const [name, child] of this.children()) {
      if (!path.includes(child)) yield* child.named(role, `${prefix}${name}.`, path);
    }
  }

  /** Trained tensors by name. One that is held in several places is there under each of its names. */
  namedParameters(): Map<string, Tensor> {
    return distinct(this.named('parameter', '', []));
  }

  /** State that isn't trained, by name. */
  namedBuffers(): Map<string, Tensor> {
    return distinct(this.named('buffer', '', []));
  }

  /** Trained tensors, each once. */
  parameters(): Tensor[] {
    return [...new Set(this.namedParameters().values())];
  }

  /** Number of trained values. */
  parameterCount(): number {
    return this.parameters().reduce((sum, tensor) => sum + tensor.size, 0);
  }

  /** Forgets all gradients. */
  zeroGrad(): void {
    for (const tensor of this.parameters()) tensor.zeroGrad();
  }

  /** Training mode, in which normalizations use the statistics of the batch; or inference with `false`. */
  train(on = true): this {
    for (const module of this.modules()) module.training = on;
    return this;
  }

  /** Inference mode: normalizations use running averages. */
  eval(): this {
    return this.train(false);
  }

  /**
   * The architecture as plain JSON, from which {@link buildModel} makes a module of the same shape; saved with the
   * weights by {@link saveModel}. Null, the default, for modules that can't say: they are saved as weights alone.
   *
   * @example
   * class Scale extends Layer {
   *   static readonly type = 'Scale';
   *   readonly factors = this.parameter(() => this.device.ones([this.channels]));
   *
   *   constructor(private readonly device: Device, private readonly channels: number) {
   *     super();
   *   }
   *
   *   static plan(spec: SpecReader): ModulePlan {
   *     const channels = spec.size('channels'); // checks are all here: nothing is allocated yet
   *     return { values: channels, build: (device) => new Scale(device, channels) };
   *   }
   *
   *   override spec(): ModuleSpec {
   *     return { type: Scale.type, channels: this.channels };
   *   }
   * }
   * registerModule(Scale);
   */
  spec(): ModuleSpec | null {
    return null;
  }

  /** Parameters and buffers by name. */
  stateDict(): Map<string, Tensor> {
    return new Map([...this.namedParameters(), ...this.namedBuffers()]);
  }

  /** The values of {@link Module.stateDict}, read from the device. */
  stateValues(): Promise<StateValues> {
    return readState(this.stateDict());
  }

  /**
   * Overwrites all parameters and buffers. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    writeState(this.stateDict(), state, 'module');
  }

  /** Frees parameters, buffers and gradients, its own and those of its sub-modules. A second call does nothing. */
  dispose(): void {
    for (const [, child] of this.children()) child.dispose();
    for (const tensor of this.stateDict().values()) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Modules and tensors that an object's fields hold, with their names: directly, or in arrays, maps, sets and plain
 * objects. Doesn't look into the modules.
 */
function* contents(holder: object, prefix = '', holders: readonly object[] = []): Generator<[string, unknown]> {
  const isKeyed = holder instanceof Map || holder instanceof Set || Array.isArray(holder);
  const entries = holder instanceof Set ? [...holder].entries() : isKeyed ? holder.entries() : Object.entries(holder);
  for (const [key, value] of entries as Iterable<[unknown, unknown]>) {
    if (typeof value !== 'object' || value === null) continue;
    const name = prefix + (typeof key === 'object' ? '' : String(key));
    if (value instanceof Module || isTensor(value)) {
      check(
        typeof key !== 'object',
        'INVALID_ARGUMENT',
        () => `module: a map with modules must have texts or numbers as keys, got ${String(key)} in ${prefix}`,
      );
      yield [name, value];
    } else if (isContainer(value) && value !== holder && !holders.includes(value)) {
      yield* contents(value, `${name}.`, [...holders, holder]);
    }
  }
}

function isContainer(value: object): boolean {
  if (Array.isArray(value) || value instanceof Map || value instanceof Set) return true;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** @throws KalmanNormError `INVALID_STATE` where two tensors have the same name */
function distinct(named: Iterable<[string, Tensor]>): Map<string, Tensor> {
  const map = new Map<string, Tensor>();
  for (const [name, tensor] of named) {
    const other = map.get(name);
    check(
      other === undefined || other === tensor,
      'INVALID_STATE',
      `module: two tensors are both named ${name}; rename a field or a key`,
    );
    map.set(name, tensor);
  }
  return map;
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'role' in value && 'requiresGrad' in value;
}

/** A module that maps one tensor to one. */
export abstract class Layer extends Module {
  abstract forward(x: Tensor): Tensor;

  /** Whether this layer, or one within, is a Kalman normalization, which uses what is believed of its input. */
  get usesBelief(): boolean {
    return this.modules().some((module) => module !== this && module instanceof Layer && module.usesBelief);
  }

  /**
   * Maps samples, and with them what is believed of their distribution: see {@link Layer.transition}. Without a belief it
   * is {@link Layer.forward}.
   *
   * @throws KalmanNormError `INVALID_ARGUMENT` where there is a belief, and the layer has no transition or another number
   *   of channels; nothing has been changed then
   */
  filter({ x, belief }: Filtered): Filtered {
    const next = belief && this.transition(belief, x.shape);
    return { x: this.forward(x), belief: next };
  }

  /**
   * The Kalman filter's transition: what is believed of the layer's output, given that of its input. A layer that can't
   * say throws, and {@link Unknown} lets a network do without.
   *
   * @param _shape of the samples that go in
   */
  protected transition(_belief: Belief, _shape: readonly number[]): Belief {
    throw new KalmanNormError(
      'INVALID_ARGUMENT',
      `${this.constructor.name} doesn't know what it makes of a belief, and a Kalman normalization behind it may want to ` +
        `know: give it a transition, or wrap it, as in new Unknown(new ${this.constructor.name}(...))`,
    );
  }
}
