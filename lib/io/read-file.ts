import { readFile } from 'node:fs/promises';
import { KalmanNormError } from '../errors.js';

/**
 * Whether `error` is a failure of the operating system with one of these codes, such as `ENOENT`.
 *
 * @param error anything that was thrown
 * @param codes the codes to compare with
 */
export function hasErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/**
 * Reads a whole file into memory.
 *
 * @param path the file
 * @param what what the file should be, for the message of an error ("a safetensors file")
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such file; other failures of the operating system
 *   (permissions, input/output) pass through as they are, since they already name the path and the cause
 */
export async function readWholeFile(path: string, what: string): Promise<Uint8Array> {
  try {
    const { buffer, byteOffset, byteLength } = await readFile(path);
    // A plain array: a Buffer's slice() would share memory where everybody expects a copy.
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) {
      throw new KalmanNormError('FILE_NOT_FOUND', `path: expected ${what}, but there is no file ${path}`, {
        cause: error,
      });
    }
    if (hasErrno(error, 'EISDIR')) {
      throw new KalmanNormError('FILE_NOT_FOUND', `path: expected ${what}, but ${path} is a folder`, { cause: error });
    }
    throw error;
  }
}
