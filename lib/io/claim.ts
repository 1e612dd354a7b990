import { link, rm, writeFile } from 'node:fs/promises';

/**
 * Makes a file that is there whole at once, and never over another: of several processes one gets it.
 *
 * @throws with the code `EEXIST` where the file is there; failures of the operating system pass through
 *
 * @internal
 */
export async function claimFile(path: string, text: string, { mode = 0o666 } = {}): Promise<void> {
  const draft = `${path}.${process.pid}`;
  try {
    await writeFile(draft, text, { mode });
    await link(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

/** Whether this machine has a process of this number, whoever it belongs to. @internal */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
