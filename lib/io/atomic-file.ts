import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KalmanNormError } from '../errors.js';
import { hasErrno } from './read-file.js';

/**
 * Writes a file so that a reader sees either the old content or the whole new one, even after a crash: the content
 * goes into a temporary file in the same folder, reaches the disk, and takes the final name by a rename.
 *
 * @param path the file to create or replace; its folder must exist
 * @param content bytes, or text to store as UTF-8. Don't change bytes until the promise is settled.
 * @throws KalmanNormError `FILE_NOT_FOUND` where the folder doesn't exist; other failures of the operating system
 *   (disk full, permissions) pass through. On failure the temporary file is removed and an old file is unchanged.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  // A random part as well as the process: worker threads share the process id.
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) {
      throw new KalmanNormError('FILE_NOT_FOUND', `path: the folder of ${path} doesn't exist; create it first`, {
        cause: error,
      });
    }
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes a rename survive a power cut. Not every file system can do it, and the content is safe without it. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch {
    // The file itself is complete and in place.
  }
}
