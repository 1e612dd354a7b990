import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { CheckpointFolder, GroupNorm, openDevice } from '../../lib/index.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-disk-'));

/** Mounts a disk of 1 MiB at `root`; why it can't be done, or null. */
function mount(): string | null {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'kalman-norm', root], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return (error as Error).message.trim().split('\n').at(-1) ?? 'mount failed';
  }
}

const failure = mount();
test.after.always(async () => {
  if (failure === null) execFileSync('umount', [root]);
  await rmdir(root);
});

const title = 'a full disk: saving fails, the checkpoint before stays, and with room again the next one is saved';
(failure === null ? test : test.skip)(failure === null ? title : `${title} (needs to mount: ${failure})`, async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const model = new GroupNorm(device, 4, 8192);
  const folder = join(root, 'checkpoints');
  const checkpoints = new CheckpointFolder(folder, { model });
  await checkpoints.save(1, 'one');
  const { bavail, bsize } = await statfs(root);
  const filler = join(root, 'filler');
  // Room for some of a checkpoint of 64 KiB, so that it breaks off in the middle.
  await writeFile(filler, new Uint8Array(bavail * bsize - 32_768));

  await t.throwsAsync(checkpoints.save(2, 'two'), { code: 'ENOSPC' } as object);
  t.deepEqual(await readdir(folder), ['step-0000000001.safetensors']);
  t.like(await checkpoints.load(), { data: 'one', warnings: [] });

  await rm(filler);
  await checkpoints.save(2, 'two');
  t.like(await checkpoints.load(), { data: 'two', warnings: [] });
  device.dispose();
});
