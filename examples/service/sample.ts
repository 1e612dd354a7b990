/** From a request's body to what the model takes. */
import type { FastifyRequest } from 'fastify';
import type { InputSize } from '../../lib/index.js';
import { RequestError } from './errors.js';

/** Media types of a picture that is the whole body. The bytes decide what it is; the type only says that it is one. */
export const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/webp', 'application/octet-stream'];

interface TensorBody {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** JSON schema of a tensor: its shape, and its values in row-major order, normalized as the network takes them. */
export function tensorSchema({ channels, height, width }: InputSize): object {
  const size = channels * height * width;
  return {
    type: 'object',
    required: ['shape', 'data'],
    additionalProperties: false,
    properties: {
      shape: { const: [channels, height, width] },
      data: { type: 'array', items: { type: 'number' }, minItems: size, maxItems: size },
    },
  };
}

/**
 * The sample that a request holds: an encoded picture as body or as the one file of a form, or a tensor as JSON, which
 * has been checked.
 */
export async function readSample(request: FastifyRequest): Promise<Buffer | Float32Array> {
  const body = request.isMultipart() ? await readForm(request) : request.body;
  if (body === undefined || (Buffer.isBuffer(body) && body.length === 0)) {
    throw new RequestError(400, 'EMPTY', 'there is no picture: the body is empty');
  }
  return Buffer.isBuffer(body) ? body : Float32Array.from((body as TensorBody).data);
}

/** The file of a form, which is read to its end. */
async function readForm(request: FastifyRequest): Promise<Buffer> {
  let file: Buffer | undefined;
  try {
    for await (const part of request.parts()) if (part.type === 'file') file = await part.toBuffer();
  } catch (error) {
    const { code = '', statusCode } = error as Partial<RequestError>;
    const limit = /^FST_\w+_LIMIT$/.test(code);
    // Errors of the form's parser have no status.
    if (statusCode && !limit) throw error;
    const message = limit ? 'the form must hold one file and nothing else' : 'the form is damaged or cut short';
    throw new RequestError(400, 'BAD_FORM', message, { cause: error });
  }
  if (!file) throw new RequestError(400, 'EMPTY', 'the form has no file: send the picture as one');
  return file;
}
