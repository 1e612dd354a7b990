import type { TensorData } from './addon/contract.js';
import { shortened } from './arguments.js';
import { check, KalmanNormError } from './errors.js';
import type { Device, Tensor } from './tensor.js';

/** Values of a module's parameters and buffers, or of an optimizer's buffers, by name; row-major. */
export type StateValues = Map<string, { shape: readonly number[]; data: TensorData }>;

/** Arrays of the tensors' types. */
const arrayTypes = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** Faults that a message lists. */
const MOST_FAULTS = 20;

/**
 * Refuses what lasts from step to step within a recording: each replay would set it back to its first values, in memory
 * that it shares with others.
 *
 * @param what can't be done, such as "Sgd: can't be made"
 * @throws KalmanNormError `INVALID_STATE` within {@link Device.record}
 * @internal
 */
export function checkNotRecording(what: string, device: Device): void {
  check(
    !device.recording,
    'INVALID_STATE',
    () => `${what} within device.record, which would set state back at each replay; do it before or after`,
  );
}

/** The values of tensors, read from the device. @internal */
export async function readState(tensors: ReadonlyMap<string, Tensor>): Promise<StateValues> {
  const entries = [...tensors].map(
    async ([name, tensor]) => [name, { shape: [...tensor.shape], data: await tensor.data() }] as const,
  );
  return new Map(await Promise.all(entries));
}

/**
 * Checks that a state has the tensors' names, shapes and types.
 *
 * @param owner whose tensors they are, for messages
 * @param caller what the messages begin with
 * @throws KalmanNormError `STATE_MISMATCH` with the counts and the first of the faults
 * @internal
 */
export function checkState(
  own: ReadonlyMap<string, Tensor>,
  state: StateValues,
  owner: string,
  caller = 'loadStateDict',
): void {
  check(state instanceof Map, 'INVALID_ARGUMENT', () => `${caller}: expected a map of values, got ${state}`);
  const missing: string[] = [];
  const misfits: string[] = [];
  for (const [name, tensor] of own) {
    const entry = state.get(name);
    const shape = tensor.shape.join(', ');
    const type = arrayTypes[tensor.dtype];
    if (!entry) missing.push(`${name} [${shape}] is missing`);
    else if (entry.shape.join(', ') !== shape)
      misfits.push(`${name}: expected [${shape}], got [${shortened(entry.shape.join(', '))}]`);
    else if (!(entry.data instanceof type))
      misfits.push(`${name}: expected ${tensor.dtype}, got ${entry.data?.constructor?.name}`);
    else if (entry.data.length !== tensor.size)
      misfits.push(`${name}: expected ${tensor.size} values, got ${entry.data.length}`);
  }
  const unexpected = [...state.keys()]
    .filter((name) => !own.has(name))
    .map((name) => `${shortened(name)} is not part of this ${owner}`);
  const faults = [...missing, ...unexpected, ...misfits];
  if (faults.length === 0) return;
  const counts = `${missing.length} missing, ${unexpected.length} unexpected, ${misfits.length} that don't fit`;
  const shown = faults.slice(0, MOST_FAULTS).join('; ');
  const more = faults.length > MOST_FAULTS ? `; and ${faults.length - MOST_FAULTS} more` : '';
  throw new KalmanNormError('STATE_MISMATCH', `${caller}: ${counts}: ${shown}${more}`);
}

/** Overwrites the tensors with a state, after {@link checkState}. @internal */
export function writeState(own: ReadonlyMap<string, Tensor>, state: StateValues, owner: string, caller?: string): void {
  checkState(own, state, owner, caller);
  for (const [name, tensor] of own) tensor.write((state.get(name) as { data: TensorData }).data);
}
