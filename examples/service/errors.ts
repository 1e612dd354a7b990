/** From errors to answers. What isn't listed here is nobody's business outside: only the log has it. */
import { KalmanNormError } from '../../lib/index.js';

/** A request that can't be answered, and why, in words for who sent it. */
export class RequestError extends Error {
  override readonly name = 'RequestError';

  constructor(
    readonly statusCode: number,
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const overloaded = new RequestError(503, 'OVERLOADED', 'too much is waiting: come again in a moment');
export const tooLate = new RequestError(503, 'TIMEOUT', 'there was no time for it: come again in a moment');
/** Nobody reads it. */
export const hungUp = new RequestError(499, 'HUNG_UP', 'the caller hung up');

/** An answer that says what went wrong. */
export interface ErrorAnswer {
  readonly status: number;
  /** For programs. */
  readonly code: string;
  /** For people. */
  readonly message: string;
}

/** What to answer to an error. `id` is the request's, by which its line is found in the log. */
export function answerTo(error: unknown, id: string): ErrorAnswer {
  if (error instanceof KalmanNormError) {
    const { code } = error;
    if (code === 'OVERLOADED') return answerTo(overloaded, id);
    if (code === 'INVALID_ARGUMENT' && error.cause instanceof Error) return undecodable(error.cause);
    if (['INVALID_ARGUMENT', 'SHAPE_MISMATCH', 'DTYPE_MISMATCH'].includes(code)) {
      return { status: 400, code, message: error.message.replace(/^\w+: /, '') };
    }
  } else {
    const { statusCode: status = 500, code = 'BAD_REQUEST', message } = error as Partial<RequestError>;
    // The words of Fastify and its plugins name nothing but the request.
    const known = error instanceof RequestError || code === 'FST_UNDER_PRESSURE' || (status >= 400 && status < 500);
    if (known) return { status, code, message: message ?? '' };
  }
  return { status: 500, code: 'INTERNAL', message: `something went wrong; the log has it under ${id}` };
}

/** The decoder's words may be several lines of libraries' names: they are for the log. */
function undecodable(cause: Error): ErrorAnswer {
  if (/pixel limit|pixels are too many/.test(cause.message)) {
    return { status: 413, code: 'TOO_MANY_PIXELS', message: 'the picture has too many pixels: send a smaller one' };
  }
  return { status: 400, code: 'BAD_IMAGE', message: "the picture can't be decoded: it is damaged or cut short" };
}
