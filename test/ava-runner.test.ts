import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What the runner writes for one file of tests. */
async function tap(source: string, folder: string): Promise<string> {
  await writeFile(join(folder, 'package.json'), '{ "type": "module", "ava": { "timeout": "2s" } }');
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  await mkdir(join(folder, 'test'));
  await writeFile(join(folder, 'test', 'some.js'), `import test from 'ava';\n${source}`);
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [join(root, 'tools/ava-runner.mjs'), '--tap'],
      { cwd: folder, env: { PATH: process.env.PATH }, timeout: 60_000 },
      (_, stdout, stderr) => resolve(stdout + stderr),
    );
    child.stdin?.end();
  });
}

for (const [what, source, why] of [
  ['never ends', 'await new Promise((resolve) => setTimeout(resolve, 50_000));', /no test had ended for 2 s \(test/],
  [
    'ends the process',
    'await new Promise((resolve) => setTimeout(resolve, 500)); process.exit(0);',
    /ended by process\.exit\(\) \(test/,
  ],
] as const) {
  test(`a test that ${what} is named in the TAP output`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'kn-tap-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const output = await tap(`test('good', (t) => t.pass());\ntest('bad', async () => { ${source} });`, folder);
    t.regex(output, /^ok 1 - good$/m);
    t.regex(output, /^not ok 2 - bad$/m);
    t.regex(output, why);
  });
}
