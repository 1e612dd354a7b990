/**
 * What went wrong, for programs; the message says it for people.
 *
 * - `INVALID_ARGUMENT`: a value outside its domain (rank, divisibility, NaN or negative hyper-parameter, unknown option)
 * - `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `DEVICE_MISMATCH`: tensors that don't fit each other or the operation
 * - `DISPOSED`: a tensor, program or device was used after its disposal
 * - `INVALID_STATE`: a call at the wrong time, such as `backward` without a recorded graph
 * - `OUT_OF_MEMORY`: the device has no room; nothing was changed
 * - `DEVICE_UNAVAILABLE`: the device asked for isn't built, isn't there or lacks a library
 * - `DEVICE_FAILED`: an operation failed after it was enqueued; the device refuses further work
 * - `FILE_NOT_FOUND`, `FILE_CORRUPT`: a data or model file is missing, or isn't what it should be
 * - `UNKNOWN_VERSION`: a file was written by a later version of the library
 * - `PACKAGE_MISSING`: an optional npm package is needed and isn't installed
 * - `STATE_MISMATCH`: a state dict has missing, extra or misshapen entries; nothing was loaded
 * - `DIVERGED`: the loss became NaN or infinite
 * - `OVERLOADED`: more was asked of a model than it may keep waiting; ask again later
 * - `CANCELLED`: dropped by `Device.cancel` before it had run
 * - `GROUP_FAILED`: a process of a group ended, hung, or doesn't fit the others; a device that waited for it in the midst
 *   of its work refuses more
 * - `DOWNLOAD_FAILED`: a data set couldn't be fetched
 */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'SHAPE_MISMATCH'
  | 'DTYPE_MISMATCH'
  | 'DEVICE_MISMATCH'
  | 'DISPOSED'
  | 'INVALID_STATE'
  | 'OUT_OF_MEMORY'
  | 'DEVICE_UNAVAILABLE'
  | 'DEVICE_FAILED'
  | 'FILE_NOT_FOUND'
  | 'FILE_CORRUPT'
  | 'UNKNOWN_VERSION'
  | 'PACKAGE_MISSING'
  | 'STATE_MISMATCH'
  | 'DIVERGED'
  | 'OVERLOADED'
  | 'CANCELLED'
  | 'GROUP_FAILED'
  | 'DOWNLOAD_FAILED';

/** The one error type of the library: every message names the argument, what was expected and what came. */
export class KalmanNormError extends Error {
  override readonly name = 'KalmanNormError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Throws a {@link KalmanNormError} unless `condition` holds.
 *
 * @param message a function where building the message costs something
 */
export function check(condition: boolean, code: ErrorCode, message: string | (() => string)): asserts condition {
  if (!condition) throw new KalmanNormError(code, typeof message === 'string' ? message : message());
}

/**
 * Calls a body whose surroundings end when it returns, and refuses asynchronous ones: what they do after their first
 * `await` would happen outside.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` where the body isn't a function (not called then), is an `async` one (not
 *   called either) or returns a promise
 * @internal
 */
export function callSynchronous<T>(name: string, body: () => T): T {
  check(typeof body === 'function', 'INVALID_ARGUMENT', () => `${name}: the body must be a function, got ${body}`);
  const refusal = `${name}: the body must not be asynchronous`;
  check(Object.prototype.toString.call(body) !== '[object AsyncFunction]', 'INVALID_ARGUMENT', refusal);
  const result = body();
  check(typeof (result as { then?: unknown } | null)?.then !== 'function', 'INVALID_ARGUMENT', refusal);
  return result;
}
