import { check } from '../errors.js';

/**
 * Where the gradient of a believed variance to a convolution's filter comes from: the `closed-form`, as of independent
 * inputs, or what the samples of earlier steps have shown, `observed`.
 */
export type TransitionGradient = 'closed-form' | 'observed';

/** @internal */
export const transitionGradients: readonly TransitionGradient[] = ['closed-form', 'observed'];

/** Refuses other words; messages begin with `name`. @internal */
export function checkTransitionGradient(name: string, value: TransitionGradient): void {
  check(
    transitionGradients.includes(value),
    'INVALID_ARGUMENT',
    `${name}: transitionGradient must be "closed-form" or "observed", got ${value}`,
  );
}
