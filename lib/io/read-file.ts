import { type FileHandle, open } from 'node:fs/promises';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';

/**
 * Whether `error` is a failure of the operating system with one of these codes, such as `ENOENT`.
 *
 * @param error anything that was thrown
 * @param codes the codes to compare with
 */
export function hasErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Bytes of one read: Node refuses more than 2 GiB at once. */
const pieceLength = 2 ** 30;

/**
 * Reads a whole file into memory, in pieces where it is large.
 *
 * @param path the file
 * @param what what the file should be, for the message of an error ("a safetensors file")
 * @param most bytes that such a file has at most; a longer one is refused before it is read. Default: no limit
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such file; `FILE_CORRUPT` where it is longer than `most`;
 *   `INVALID_ARGUMENT` where it doesn't fit into memory; other failures of the operating system (permissions,
 *   input/output) pass through as they are, since they already name the path and the cause
 */
export async function readWholeFile(path: string, what: string, most = Number.POSITIVE_INFINITY): Promise<Uint8Array> {
  const file = await openToRead(path, what);
  try {
    const stats = await file.stat();
    check(!stats.isDirectory(), 'FILE_NOT_FOUND', `path: expected ${what}, but ${path} is a folder`);
    check(
      stats.size <= most,
      'FILE_CORRUPT',
      `${path}: expected ${what} of at most ${most} bytes, but it has ${stats.size}`,
    );
    // Pipes and the like have no size, and a file of /proc says 0.
    if (!stats.isFile() || stats.size === 0) {
      const { buffer, byteOffset, byteLength } = await file.readFile();
      return new Uint8Array(buffer, byteOffset, byteLength);
    }
    const bytes = allocate(stats.size, path);
    return bytes.subarray(0, await readAt(file, bytes, 0));
  } finally {
    await file.close();
  }
}

/**
 * Opens a file for reading.
 *
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such file
 */
export async function openToRead(path: string, what: string): Promise<FileHandle> {
  checkPath(what, path);
  try {
    return await open(path, 'r');
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new KalmanNormError('FILE_NOT_FOUND', `path: expected ${what}, but there is no file ${path}`, {
      cause: error,
    });
  }
}

/**
 * Fills `bytes` from a place in a file.
 *
 * @param position of the first byte
 * @returns how many bytes there were: fewer than asked for at the file's end
 */
export async function readAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(pieceLength, bytes.length - done);
    const { bytesRead } = await file.read(bytes, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/**
 * Memory for a file's bytes.
 *
 * @param what whose bytes, for the message of an error
 * @throws KalmanNormError `INVALID_ARGUMENT` where there isn't so much, or arrays can't be so long
 */
export function allocate(size: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(size);
  } catch (error) {
    throw new KalmanNormError('INVALID_ARGUMENT', `${what}: ${size} bytes don't fit into memory`, { cause: error });
  }
}
