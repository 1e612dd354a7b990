import { randomBytes } from 'node:crypto';
import { lstat, open, readlink, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { hasErrno } from './read-file.js';

/**
 * Writes a file so that a reader sees either the old content or the whole new one, even after a crash: the content
 * goes into a temporary file in the same folder, reaches the disk, and takes the final name by a rename. A file that is
 * replaced hands on its permissions.
 *
 * @param path the file to create or replace; its folder must exist. Of a symbolic link, what it points to is replaced
 * @param content bytes, or text to store as UTF-8. Don't change bytes until the promise is settled.
 * @throws KalmanNormError `FILE_NOT_FOUND` where the folder doesn't exist; `INVALID_ARGUMENT` where there is a folder, a
 *   device or anything else that is no file; other failures of the operating system
 *   (disk full, permissions) pass through. On failure the temporary file is removed and an old file is unchanged.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  const { target, mode } = await destination(path);
  // A random part as well as the process: worker threads share the process id.
  const temporary = `${target}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      if (mode !== null) await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (error) {
    // Where nothing can be removed, there is nothing, or the first error says why.
    await rm(temporary, { force: true }).catch(() => {});
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) {
      throw new KalmanNormError('FILE_NOT_FOUND', `path: the folder of ${path} doesn't exist; create it first`, {
        cause: error,
      });
    }
    throw error;
  }
  await syncFolder(dirname(target));
}

/** As many links as Linux follows. */
const mostLinks = 40;

/** Where the file is, behind symbolic links, and the permissions of one that is there. */
async function destination(path: string): Promise<{ target: string; mode: number | null }> {
  checkPath('the file to write', path);
  let target = path;
  for (let links = 0; ; links++) {
    const stats = await lstat(target).catch((error: unknown) => {
      // Nothing there, or not even a folder: creating the file will tell.
      if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return null;
      throw error;
    });
    if (!stats) return { target, mode: null };
    if (!stats.isSymbolicLink()) {
      check(
        stats.isFile(),
        'INVALID_ARGUMENT',
        `path: expected a file or nothing, but ${path} is a ${stats.isDirectory() ? 'folder' : 'device or the like'}`,
      );
      return { target, mode: stats.mode & 0o7777 };
    }
    check(links < mostLinks, 'INVALID_ARGUMENT', `path: too many symbolic links behind ${path}`);
    target = resolve(dirname(target), await readlink(target));
  }
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
