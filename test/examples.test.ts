import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';

const root = fileURLToPath(new URL('..', import.meta.url));

const programs = (await readdir(`${root}/examples`)).filter((file) => file.endsWith('.ts'));
for (const file of programs) {
  test(`examples/${file} is short`, async (t) => {
    const lines = (await readFile(`${root}/examples/${file}`, 'utf8')).trimEnd().split('\n');
    t.true(lines.length < 60, `${lines.length} lines`);
  });
}

/** Runs an example with a temporary folder of its own; what it prints. */
async function run(t: ExecutionContext, example: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-example-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', `examples/${example}`], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
  });
  t.log(stdout);
  return stdout;
}

test('examples/own-dataset.ts learns, saves and recognizes', async (t) => {
  const stdout = await run(t, 'own-dataset.ts');
  const losses = [...stdout.matchAll(/loss (\d\.\d+)/g)].map(([, loss]) => Number(loss));
  t.is(losses.length, 6);
  t.true(losses.at(-1)! < 0.6 * losses[0]!, `${losses}`);
  t.regex(stdout, /80 images of 2 classes.*Classes: lying, upright\./);
  const [, guess, right] = /the first validation image: (\w+) \((\w+) is right\)/.exec(stdout) ?? [];
  t.is(guess, right);
});

test('examples/own-network.ts learns, saves, and another process recognizes', async (t) => {
  const stdout = await run(t, 'own-network.ts');
  const losses = /losses: ([\d.,]+)/.exec(stdout)?.[1]?.split(',').map(Number) ?? [];
  t.is(losses.length, 5);
  t.true(losses[4]! < 0.5 * losses[0]!, `${losses}`);
  const answers = [...stdout.matchAll(/a new (\w+): a (\w+), it says/g)];
  t.deepEqual(
    answers.map(([, drawn]) => drawn),
    ['disc', 'ring', 'cross', 'disc', 'ring', 'cross'],
  );
  t.true(answers.filter(([, drawn, said]) => drawn === said).length >= 5);
});
