import { check } from '../errors.js';
import { Tensor } from '../tensor.js';

/** What an optimizer trains: parameters by name, as {@link Module.namedParameters} gives them, or just parameters. */
export type ParameterList = ReadonlyMap<string, Tensor> | readonly Tensor[];

/** A parameter with all the names that it has. */
export interface NamedParameter {
  /** The first of its names; its position where it was given without. */
  readonly name: string;
  readonly names: readonly string[];
  readonly weight: Tensor;
}

/**
 * Each parameter once, however many names it has: a weight that two layers share has one gradient, and takes one step.
 *
 * @param owner whom messages name
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters
 * @internal
 */
export function distinctParameters(owner: string, parameters: ParameterList): NamedParameter[] {
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
    const names = found.get(weight);
    if (names) names.push(String(key));
    else found.set(weight, [String(key)]);
  }
  return [...found].map(([weight, names]) => ({ name: names[0] as string, names, weight }));
}
