import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const root = fileURLToPath(new URL('..', import.meta.url));

for (const file of await readdir(`${root}/examples`)) {
  test(`examples/${file} is short`, async (t) => {
    const lines = (await readFile(`${root}/examples/${file}`, 'utf8')).trimEnd().split('\n');
    t.true(lines.length < 60, `${lines.length} lines`);
  });
}

test('examples/own-dataset.ts learns, saves and recognizes', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-example-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', 'examples/own-dataset.ts'], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
  });
  t.log(stdout);
  const losses = [...stdout.matchAll(/loss (\d\.\d+)/g)].map(([, loss]) => Number(loss));
  t.is(losses.length, 6);
  t.true(losses.at(-1)! < 0.6 * losses[0]!, `${losses}`);
  t.regex(stdout, /80 images of 2 classes.*Classes: lying, upright\./);
  const [, guess, right] = /the first validation image: (\w+) \((\w+) is right\)/.exec(stdout) ?? [];
  t.is(guess, right);
});
