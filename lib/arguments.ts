import { check } from './errors.js';
import { shown } from './shown.js';
import { Device, Tensor } from './tensor.js';

// What types rule out, and plain JavaScript can pass all the same.

export { shown };

/** A text of a file for a message: its beginning, where it is long. @internal */
export function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/**
 * A value of JSON for a message, short and without a call of what it may hold: JSON from a file nests deeper than a
 * stack, or has a `toString` of its own.
 *
 * @internal
 */
export function shownJson(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shortened(value));
  if (typeof value !== 'object' || value === null) return String(value);
  if (!Array.isArray(value)) return 'an object';
  // No entry takes less than a character.
  const first = value.slice(0, 60);
  return first.some((entry) => typeof entry === 'object' && entry !== null)
    ? 'an array'
    : shortened(JSON.stringify(first.map((entry) => (typeof entry === 'string' ? shortened(entry) : entry))));
}

/**
 * @param owner whom messages name
 * @param tensors by the names of the arguments
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't a tensor
 * @internal
 */
export function checkTensors(owner: string, tensors: Readonly<Record<string, unknown>>): void {
  for (const name in tensors) {
    const value = tensors[name];
    check(value instanceof Tensor, 'INVALID_ARGUMENT', () => `${owner}: ${name} must be a tensor, got ${shown(value)}`);
  }
}

/**
 * @param owner whom messages name
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't an array; what is in it, the device checks
 * @internal
 */
export function checkShape(owner: string, shape: unknown): void {
  check(
    Array.isArray(shape),
    'INVALID_ARGUMENT',
    () => `${owner}: shape must be an array of sizes, got ${shown(shape)}`,
  );
}

/**
 * @param owner whom messages name
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't a device
 * @internal
 */
export function checkDevice(owner: string, device: unknown): void {
  check(
    device instanceof Device,
    'INVALID_ARGUMENT',
    () => `${owner}: device must be one that openDevice gave, got ${shown(device)}`,
  );
}

/**
 * @param owner whom messages name
 * @param objects options and other objects, by the names of the arguments
 * @throws KalmanNormError `INVALID_ARGUMENT` for what has no properties
 * @internal
 */
export function checkObjects(owner: string, objects: Readonly<Record<string, unknown>>): void {
  for (const name in objects) {
    const value = objects[name];
    check(
      typeof value === 'object' && value !== null,
      'INVALID_ARGUMENT',
      () => `${owner}: ${name} must be an object, got ${shown(value)}`,
    );
  }
}

/**
 * @param owner whom messages name
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't the name of a file or folder
 * @internal
 */
export function checkPath(owner: string, path: unknown): void {
  check(
    typeof path === 'string' && path.length > 0 && !path.includes('\0'),
    'INVALID_ARGUMENT',
    () => `${owner}: expected the path of a file or folder, got ${shown(path)}`,
  );
}
