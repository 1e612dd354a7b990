import { check } from '../errors.js';

/** Refuses what isn't a positive number; messages begin with `name`. @internal */
export function checkPositive(name: string, value: number): void {
  check(
    Number.isFinite(value) && value > 0,
    'INVALID_ARGUMENT',
    `${name} must be a positive number, got ${String(value)}`,
  );
}
