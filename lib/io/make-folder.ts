import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { checkPath } from '../arguments.js';
import { KalmanNormError } from '../errors.js';
import { hasErrno } from './read-file.js';

/**
 * Makes a folder, and those above it that are missing. Level by level: Node's own recursion never returns where a folder
 * that is there says that it isn't, as `/proc` does of whatever is to be made in it.
 *
 * @param owner whom messages name
 * @param mode of the folders that are made
 * @throws KalmanNormError `INVALID_ARGUMENT`, naming the path, where no folder can be there: below a file, in `/proc`; other
 *   failures of the operating system (disk full, permissions) pass through
 * @internal
 */
export async function makeFolder(owner: string, path: string, mode = 0o777): Promise<void> {
  checkPath(owner, path);
  const missing: string[] = [];
  for (let folder = resolve(path); !(await isFolder(folder)); folder = dirname(folder)) missing.unshift(folder);
  for (const folder of missing) {
    try {
      await mkdir(folder, { mode });
    } catch (error) {
      // Made by another process meanwhile.
      if (hasErrno(error, 'EEXIST') && (await isFolder(folder))) continue;
      if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'EEXIST')) throw error;
      const message = `${owner}: ${path} can't be used: ${(error as Error).message}`;
      throw new KalmanNormError('INVALID_ARGUMENT', message, { cause: error });
    }
  }
}

/** What can't be looked at is none: to make it will tell why. */
function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
