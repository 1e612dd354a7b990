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
 * - `STATE_MISMATCH`: a state dict has missing, extra or misshapen entries; nothing was loaded
 * - `DIVERGED`: the loss became NaN or infinite
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
  | 'STATE_MISMATCH'
  | 'DIVERGED'
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
