import { callSynchronous } from './errors.js';

/** Something whose memory a scope frees. */
export interface Disposable {
  dispose(): void;
}

type Scope = Set<Disposable>;

let current: Scope | null = null;

/** Puts a resource under the innermost scope, if there is one. @internal */
export function adopt(resource: Disposable): void {
  current?.add(resource);
}

/** Takes a resource out of its scope: its owner frees it. @internal */
export function release(resource: Disposable): void {
  current?.delete(resource);
}

/** Runs `body` outside all scopes. @internal */
export function noScope<T>(body: () => T): T {
  const outer = current;
  current = null;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Whatever holds tensors in arrays and plain objects. */
function forEachDisposable(value: unknown, visit: (resource: Disposable) => void): void {
  if (value === null || typeof value !== 'object') return;
  if (typeof (value as Partial<Disposable>).dispose === 'function') {
    visit(value as Disposable);
  } else if (Array.isArray(value) || value instanceof Map || value instanceof Set) {
    for (const entry of value.values()) forEachDisposable(entry, visit);
  } else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const entry of Object.values(value)) forEachDisposable(entry, visit);
  }
}

/**
 * Runs `body` and frees every tensor made within, except those that it returns (also in arrays, maps and plain objects),
 * parameters, buffers and the gradients of parameters. Scopes nest: what an inner one returns belongs to the outer one.
 * The graph is freed too: `backward` belongs into the scope of its forward.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` when `body` returns a promise: memory would be freed while it's in use
 *
 * @example
 * const loss = scope(() => {
 *   const { loss } = crossEntropy(model.forward(images), labels);
 *   backward(loss);
 *   return loss;
 * });
 */
export function scope<T>(body: () => T): T {
  const outer = current;
  const mine: Scope = new Set();
  current = mine;
  try {
    const result = callSynchronous('scope', body);
    forEachDisposable(result, (resource) => {
      if (mine.delete(resource)) outer?.add(resource);
    });
    return result;
  } finally {
    current = outer;
    for (const resource of mine) resource.dispose();
  }
}
