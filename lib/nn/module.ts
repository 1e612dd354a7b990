import type { TensorData } from '../addon/contract.js';
import { check, KalmanNormError } from '../errors.js';
import { noScope } from '../scope.js';
import type { Tensor } from '../tensor.js';

/** Values of a module's parameters and buffers by name; row-major. */
export type StateValues = Map<string, { shape: readonly number[]; data: TensorData }>;

/**
 * Base of all layers: finds parameters, buffers and sub-modules in its fields, so that a layer is an ordinary class.
 *
 * A field that holds a module, or an array of modules, is a sub-module; its name is part of the names of what's in it
 * ("stage1.0.conv1.weight").
 */
export abstract class Module {
  /** Whether the module is in training mode; see {@link Module.train}. */
  training = true;

  /** Marks a tensor as trained: it requires gradients, and scopes don't free it. */
  protected parameter(make: () => Tensor): Tensor {
    const tensor = noScope(make);
    tensor.role = 'parameter';
    tensor.requiresGrad = true;
    return tensor;
  }

  /** Marks a tensor as state that isn't trained, such as running averages. */
  protected buffer(make: () => Tensor): Tensor {
    const tensor = noScope(make);
    tensor.role = 'buffer';
    return tensor;
  }

  /** Sub-modules with their names, in the order of the fields. */
  *children(): Generator<[string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      if (Array.isArray(value)) {
        for (const [i, entry] of value.entries()) if (entry instanceof Module) yield [`${name}.${i}`, entry];
      }
    }
  }

  private *named(role: Tensor['role'], prefix: string): Generator<[string, Tensor]> {
    for (const [name, value] of Object.entries(this)) {
      if (isTensor(value) && value.role === role) yield [prefix + name, value];
    }
    for (const [name, child] of this.children()) yield* child.named(role, `${prefix}${name}.`);
  }

  /** Trained tensors by name. */
  namedParameters(): Map<string, Tensor> {
    return new Map(this.named('parameter', ''));
  }

  /** State that isn't trained, by name. */
  namedBuffers(): Map<string, Tensor> {
    return new Map(this.named('buffer', ''));
  }

  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
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
    this.training = on;
    for (const [, child] of this.children()) child.train(on);
    return this;
  }

  /** Inference mode: normalizations use running averages. */
  eval(): this {
    return this.train(false);
  }

  /** Parameters and buffers by name. */
  stateDict(): Map<string, Tensor> {
    return new Map([...this.namedParameters(), ...this.namedBuffers()]);
  }

  /** The values of {@link Module.stateDict}, read from the device. */
  async stateValues(): Promise<StateValues> {
    const entries = [...this.stateDict()].map(
      async ([name, tensor]) => [name, { shape: [...tensor.shape], data: await tensor.data() }] as const,
    );
    return new Map(await Promise.all(entries));
  }

  /**
   * Overwrites all parameters and buffers. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    const own = this.stateDict();
    const faults: string[] = [];
    for (const [name, tensor] of own) {
      const entry = state.get(name);
      const shape = tensor.shape.join(', ');
      if (!entry) faults.push(`${name} [${shape}] is missing`);
      else if (entry.shape.join(', ') !== shape)
        faults.push(`${name}: expected [${shape}], got [${entry.shape.join(', ')}]`);
      else if (!(entry.data instanceof Float32Array))
        faults.push(`${name}: expected float32, got ${entry.data.constructor.name}`);
      else if (entry.data.length !== tensor.size)
        faults.push(`${name}: expected ${tensor.size} values, got ${entry.data.length}`);
    }
    for (const name of state.keys()) if (!own.has(name)) faults.push(`${name} is not part of this module`);
    if (faults.length > 0) {
      const shown = faults.slice(0, 10).join('; ');
      const more = faults.length > 10 ? `; and ${faults.length - 10} more` : '';
      throw new KalmanNormError('STATE_MISMATCH', `loadStateDict: ${shown}${more}`);
    }
    for (const [name, tensor] of own) tensor.write((state.get(name) as { data: TensorData }).data);
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

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'role' in value && 'requiresGrad' in value;
}

/** A module that maps one tensor to one. */
export abstract class Layer extends Module {
  abstract forward(x: Tensor): Tensor;
}

/**
 * Layers one after the other.
 *
 * @example
 * const net = new Sequential(new Conv2d(device, 3, 8, 3, { padding: 'same' }), new BatchNorm2d(device, 8), new ReLU());
 */
export class Sequential extends Layer {
  readonly layers: readonly Layer[];

  constructor(...layers: Layer[]) {
    super();
    check(layers.length > 0, 'INVALID_ARGUMENT', 'Sequential: expected at least one layer');
    this.layers = layers;
  }

  override forward(x: Tensor): Tensor {
    let current = x;
    for (const layer of this.layers) {
      const next = layer.forward(current);
      if (current !== x && next !== current) current.dispose();
      current = next;
    }
    return current;
  }
}
