import { checkDevice, shortened, shownJson } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions } from '../options.js';
import type { Device } from '../tensor.js';
import type { Module, ModuleSpec, SpecValue } from './module.js';

export type { ModuleSpec, SpecValue };

/** A module that can be built, as its spec has been found to be good. */
export interface ModulePlan {
  /** Number of values of its parameters and buffers, or fewer: what {@link buildModel} compares with its limit. */
  readonly values: number;
  build(device: Device): Module;
}

/** A class of modules that specs can name. */
export interface ModuleType {
  /** Its name in specs; the class's name. */
  readonly type: string;
  /**
   * Checks a spec, without allocating anything, and says how to build the module. What isn't read with the reader's
   * methods is refused as unknown.
   */
  plan(spec: SpecReader): ModulePlan;
}

const types = new Map<string, ModuleType>();

/**
 * Makes a class of modules known to {@link buildModel}, by the name `type`.
 *
 * A class takes part with a static `type`, a static `plan` and a method `spec`; see {@link Module.spec} for an example.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` where another class has the name
 */
export function registerModule(type: ModuleType): void {
  check(
    typeof (type as unknown) === 'function' && typeof type.type === 'string' && typeof type.plan === 'function',
    'INVALID_ARGUMENT',
    () => `registerModule: expected a class with a static type and a static plan, got ${String(type)}`,
  );
  const other = types.get(type.type);
  check(
    other === undefined || other === type,
    'INVALID_ARGUMENT',
    `registerModule: another class has the type "${type.type}"`,
  );
  types.set(type.type, type);
}

/**
 * The spec of a module; null where it, or a module within, can't say: its class has no spec of its own, or isn't
 * registered. A class that extends a registered one is another network, and needs its own.
 */
export function specOf(module: Module): ModuleSpec | null {
  check(
    typeof (module as Module | null)?.spec === 'function',
    'INVALID_ARGUMENT',
    () => `specOf: expected a module, got ${String(module)}`,
  );
  const spec = module.spec();
  return spec !== null && types.get(spec.type) === (module.constructor as unknown) ? spec : null;
}

/** Options of {@link buildModel}. */
export interface BuildOptions {
  /** Most values that parameters and buffers may have; default 2^28, a gibibyte. */
  maxValues?: number;
}

/**
 * Builds a network from its spec, such as one from a file. The whole spec is checked before anything is allocated.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for an unknown type, option or value, naming its place; for a spec that is
 *   nested deeper than 64 modules, has more than 10,000 of them, or more values than allowed
 *
 * @example
 * const net = buildModel(device, { type: 'Sequential', layers: [{ type: 'ReLU' }, { type: 'GlobalAvgPool2d' }] });
 */
export function buildModel(device: Device, spec: ModuleSpec, options: BuildOptions = {}): Module {
  checkDevice('buildModel', device);
  checkOptions('buildModel', options, { maxValues: true });
  const { maxValues = 2 ** 28 } = options;
  const plan = planModule(spec, 'spec', { modules: 0 }, 0);
  check(
    plan.values <= maxValues,
    'INVALID_ARGUMENT',
    `spec: expected a network of at most ${maxValues} values, got ${plan.values}`,
  );
  return plan.build(device);
}

const MAX_DEPTH = 64;
const MAX_MODULES = 10_000;
/** Of channels, features, kernels. */
const MAX_SIZE = 2 ** 20;

interface Progress {
  modules: number;
}

function planModule(spec: unknown, path: string, progress: Progress, depth: number): ModulePlan {
  check(depth <= MAX_DEPTH, 'INVALID_ARGUMENT', `${path}: nested deeper than ${MAX_DEPTH} modules`);
  check(++progress.modules <= MAX_MODULES, 'INVALID_ARGUMENT', `${path}: more than ${MAX_MODULES} modules`);
  check(isObject(spec), 'INVALID_ARGUMENT', () => `${path}: expected an object, got ${shownJson(spec)}`);
  const type = typeof spec.type === 'string' ? types.get(spec.type) : undefined;
  check(
    type !== undefined,
    'INVALID_ARGUMENT',
    () => `${path}.type: expected a registered module (${[...types.keys()].join(', ')}), got ${shownJson(spec.type)}`,
  );
  const reader = new SpecReader(spec, path, progress, depth, ['type']);
  const plan = type.plan(reader);
  reader.finish();
  return plan;
}

/**
 * Reads a module's options from its spec. Every method throws `INVALID_ARGUMENT` with the option's place, what was
 * expected and what came. Without a fallback an option must be there.
 */
export class SpecReader {
  private readonly known: Set<string>;
  private readonly inner: SpecReader[] = [];

  /** @internal */
  constructor(
    private readonly spec: Readonly<Record<string, unknown>>,
    private readonly path: string,
    private readonly progress: Progress = { modules: 0 },
    private readonly depth = 0,
    known: readonly string[] = [],
  ) {
    this.known = new Set(known);
  }

  /** Any value that `fits`; `expected` completes "expected ..." in the message. */
  value<T>(name: string, fits: (value: unknown) => boolean, expected: string, fallback?: T): T {
    this.known.add(name);
    const value = Object.hasOwn(this.spec, name) ? this.spec[name] : fallback;
    check(fits(value), 'INVALID_ARGUMENT', () => `${this.path}.${name}: expected ${expected}, got ${shownJson(value)}`);
    return value as T;
  }

  /** A number of channels, features, pixels: a whole number from 1 to 2^20. */
  size(name: string, fallback?: number): number {
    return this.value(name, isSize, `a whole number from 1 to ${MAX_SIZE}`, fallback);
  }

  /** A number in a closed range. */
  number(name: string, from: number, to: number, fallback?: number): number {
    const fits = (value: unknown) => typeof value === 'number' && value >= from && value <= to;
    return this.value(name, fits, `a number from ${from} to ${to}`, fallback);
  }

  /** True or false. */
  flag(name: string, fallback?: boolean): boolean {
    return this.value(name, (value) => typeof value === 'boolean', 'true or false', fallback);
  }

  /** One of some texts. */
  choice<T extends string>(name: string, allowed: readonly T[], fallback?: T): T {
    return this.value(name, (value) => allowed.includes(value as T), `one of ${allowed.join(', ')}`, fallback);
  }

  /** Whether an option is there, and isn't null. */
  has(name: string): boolean {
    this.known.add(name);
    return Object.hasOwn(this.spec, name) && this.spec[name] !== null;
  }

  /** A module within. */
  child(name: string): ModulePlan {
    return planModule(this.value(name, isObject, 'a module'), `${this.path}.${name}`, this.progress, this.depth + 1);
  }

  /** Modules within, in an array. */
  children(name: string): ModulePlan[] {
    const specs = this.value<unknown[]>(name, Array.isArray, 'an array of modules');
    return specs.map((spec, i) => planModule(spec, `${this.path}.${name}.${i}`, this.progress, this.depth + 1));
  }

  /** Options in an object of their own. */
  object(name: string): SpecReader {
    const spec = this.value<Record<string, unknown>>(name, isObject, 'an object');
    const reader = new SpecReader(spec, `${this.path}.${name}`, this.progress, this.depth);
    this.inner.push(reader);
    return reader;
  }

  /** Refuses options that nobody has read. @internal */
  finish(): void {
    const unknown = Object.keys(this.spec).find((name) => !this.known.has(name));
    check(
      unknown === undefined,
      'INVALID_ARGUMENT',
      `${this.path}.${shortened(String(unknown))}: there is no such option`,
    );
    for (const reader of this.inner) reader.finish();
  }
}

/** Whether a value is a size as {@link SpecReader.size} reads it. */
export function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_SIZE;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
