import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { RunFolder } from '../../experiments/run-folder.js';
import { CheckpointFolder } from '../../lib/index.js';
import { makeFolder } from '../../lib/io/make-folder.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-folder-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

/** Fails in place of hanging, as Node's own recursion did. */
function soon<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('nothing happened within 20 s')), 20_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

test('folders above are made too, with the mode; what is there stays', async (t) => {
  const path = join(root, 'a', 'b', 'c');
  await makeFolder('x', path, 0o700);
  for (const folder of ['a', 'a/b', 'a/b/c']) t.is((await stat(join(root, folder))).mode & 0o777, 0o700);
  await writeFile(join(path, 'file'), '');
  await makeFolder('x', `${path}/`);
  t.true((await stat(join(path, 'file'))).isFile());
  await symlink(path, join(root, 'link'));
  await makeFolder('x', join(root, 'link', 'd'));
  t.true((await stat(join(path, 'd'))).isDirectory());
});

test('several may make the same folder at once', async (t) => {
  const path = join(root, 'race', 'b', 'c', 'd');
  await t.notThrowsAsync(Promise.all(Array.from({ length: 20 }, () => makeFolder('x', path))));
});

test('where no folder can be, the path is named', async (t) => {
  const file = join(root, 'file');
  await writeFile(file, '');
  const dangling = join(root, 'dangling');
  await symlink(join(root, 'nowhere'), dangling);
  for (const path of [file, join(file, 'below'), join(file, 'below', 'that'), dangling]) {
    await t.throwsAsync(makeFolder('owner', path), {
      code: 'INVALID_ARGUMENT',
      message: new RegExp(`^owner: ${path} can't be used: E`),
    } as object);
  }
  await t.throwsAsync(makeFolder('owner', 'a\0b'), { code: 'INVALID_ARGUMENT' } as object);
});

(process.platform === 'linux' ? test : test.skip)('/proc refuses folders at once, whoever asks', async (t) => {
  const refused = (owner: string) =>
    ({ code: 'INVALID_ARGUMENT', message: new RegExp(`^${owner}: /proc/x.* can't be used: ENOENT`) }) as object;
  for (const path of ['/proc/x', '/proc/x/y', '/proc/self/x']) {
    const expected = { code: 'INVALID_ARGUMENT', message: new RegExp(`^owner: ${path} can't be used: ENOENT`) };
    await t.throwsAsync(soon(makeFolder('owner', path)), expected as object);
  }
  await t.throwsAsync(soon(RunFolder.create('/proc/x')), refused('--log_dir'));
  await t.throwsAsync(soon(new CheckpointFolder('/proc/x/y', {}).save(1, null)), refused('CheckpointFolder'));
});

test('library and experiments make no folder by the recursion that may hang', (t) => {
  for (const top of ['lib', 'experiments']) {
    for (const file of readdirSync(top, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const source = readFileSync(join(top, file), 'utf8');
      t.notRegex(source, /mkdir(Sync)?\([^;]*recursive/, `${top}/${file}: makeFolder, in its place`);
    }
  }
});
