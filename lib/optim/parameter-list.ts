import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions } from '../options.js';
import { type Device, Tensor } from '../tensor.js';

/** What an optimizer trains: parameters by name, as {@link Module.namedParameters} gives them, or just parameters. */
export type ParameterList = ReadonlyMap<string, Tensor> | readonly Tensor[];

/** Parameters that are trained with hyper-parameters of their own. */
export interface ParameterGroup {
  parameters: ParameterList;
  /**
   * Default: the optimizer's. What is set as {@link Optimizer.learningRate} later on moves this one in proportion, so that
   * a schedule moves all groups.
   */
  learningRate?: number;
  /** Of all parameters of the group; default: the optimizer's, of those that its option `decays` covers. */
  weightDecay?: number;
}

/** A parameter with all the names that it has. */
export interface NamedParameter {
  /** The first of its names; its position where it was given without. */
  readonly name: string;
  readonly names: readonly string[];
  readonly weight: Tensor;
}

/** As {@link ParameterGroup}, each parameter once. @internal */
export interface NamedGroup {
  readonly parameters: readonly NamedParameter[];
  readonly learningRate?: number;
  readonly weightDecay?: number;
}

/**
 * Each parameter once, however many names it has: a weight that two layers share has one gradient, and takes one step.
 *
 * @param owner whom messages name
 * @param prefix of the names of those that are given without
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters
 * @internal
 */
export function distinctParameters(owner: string, parameters: ParameterList, prefix = ''): NamedParameter[] {
  const expected = `${owner}: parameters must be a map from names to tensors, or an array of tensors`;
  check(
    parameters instanceof Map || Array.isArray(parameters),
    'INVALID_ARGUMENT',
    () => `${expected}, such as model.namedParameters(); got ${String(parameters)}`,
  );
  const found = new Map<Tensor, string[]>();
  for (const [key, weight] of parameters.entries()) {
    check(
      weight instanceof Tensor,
      'INVALID_ARGUMENT',
      () => `${expected}; got ${String(weight)} for ${JSON.stringify(key)}`,
    );
    const name = typeof key === 'number' ? `${prefix}${key}` : key;
    const names = found.get(weight);
    if (names) names.push(name);
    else found.set(weight, [name]);
  }
  return [...found].map(([weight, names]) => ({ name: names[0] as string, names, weight }));
}

/**
 * The groups of an optimizer; one, where they weren't given as groups.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters or groups, a parameter or a name in two groups;
 *   `DTYPE_MISMATCH`, `DEVICE_MISMATCH` for parameters that aren't float32 or lie elsewhere
 * @internal
 */
export function parameterGroups(
  owner: string,
  device: Device,
  parameters: ParameterList | readonly ParameterGroup[],
): NamedGroup[] {
  checkDevice(owner, device);
  const groups = isGroups(parameters)
    ? parameters.map((group, i) => {
        const distinct = distinctParameters(owner, group?.parameters, `${i}.`);
        checkOptions(`${owner}: group ${i}`, group, { parameters: true, learningRate: true, weightDecay: true });
        return { ...group, parameters: distinct };
      })
    : [{ parameters: distinctParameters(owner, parameters) }];
  const owners = new Map<Tensor | string, number>();
  groups.forEach((group, i) => {
    for (const { name, names, weight } of group.parameters) {
      check(weight.device === device, 'DEVICE_MISMATCH', `${owner}: parameter ${name} is on another device`);
      check(
        weight.dtype === 'float32',
        'DTYPE_MISMATCH',
        () => `${owner}: parameter ${name} must be float32, got ${weight.dtype}`,
      );
      for (const key of [weight, ...names]) {
        const other = owners.get(key);
        check(
          other === undefined,
          'INVALID_ARGUMENT',
          `${owner}: parameter ${name} of group ${i} is in group ${other} too`,
        );
        owners.set(key, i);
      }
    }
  });
  return groups;
}

function isGroups(value: ParameterList | readonly ParameterGroup[]): value is readonly ParameterGroup[] {
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  return typeof first === 'object' && first !== null && !(first instanceof Tensor) && 'parameters' in first;
}
