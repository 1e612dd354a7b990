import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { startService } from '../support/service.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = `${root}/examples/service`;
const [build = '', final = ''] = readFileSync(`${folder}/Dockerfile`, 'utf8')
  .replaceAll('\\\n', ' ')
  .split(/^FROM /m)
  .slice(1);
/** The sources of a stage's COPY lines, and where each line's go. */
const copies = (stage: string) =>
  [...stage.matchAll(/^COPY (?:--from=build )?(.+) (\S+)$/gm)].map(([, sources = '', target = '']) => ({
    sources: sources.trim().split(/\s+/),
    target,
  }));

test('the image is built from what it needs: nothing else is sent, nothing is missing', async (t) => {
  const sent = (await readFile(`${folder}/Dockerfile.dockerignore`, 'utf8')).trim().split('\n').slice(1);
  const copied = copies(build).flatMap(({ sources }) => sources);
  t.deepEqual(sent.sort(), ['*', ...copied.map((source) => `!${source}`)].sort());
  for (const source of copied) t.true(existsSync(join(root, source)), source);
  const { scripts } = JSON.parse(await readFile(`${root}/package.json`, 'utf8'));
  for (const [, script = ''] of build.matchAll(/npm run (\S+)/g)) t.truthy(scripts[script], script);
});

test('the packages that stay in the image are those that the service needs, and locked', async (t) => {
  const sources = (await readdir(folder)).filter((name) => name.endsWith('.ts'));
  const code = (await Promise.all(sources.map((name) => readFile(join(folder, name), 'utf8')))).join('\n');
  const imported = [...code.matchAll(/^import .*? from '([^.'][^']*)'/gms)].map(([, name = '']) => name);
  const packages = new Set(imported.filter((name) => !builtinModules.includes(name.replace('node:', ''))));
  // The library's, for pictures.
  packages.add('sharp');
  const [, line = ''] = /npm install --ignore-scripts --omit=dev --save-prod --save-exact (.*)/.exec(build) ?? [];
  const kept = line.trim().split(/\s+/);
  t.deepEqual([...kept].sort(), [...packages].sort());
  const { devDependencies } = JSON.parse(await readFile(`${root}/package.json`, 'utf8'));
  for (const name of kept) t.regex(devDependencies[name] ?? '', /^\d+\.\d+\.\d+$/, name);
});

test('the service starts from what the image has', async (t) => {
  const image = await mkdtemp(join(tmpdir(), 'kalman-norm-image-'));
  t.teardown(() => rm(image, { recursive: true }));
  // As the Dockerfile's RUN line does.
  t.regex(build, /npx tsc -p examples\/service && cp -r examples\/service\/public dist\/examples\/service$/m);
  const tsc = [`${root}/node_modules/typescript/bin/tsc`, '-p', folder, '--outDir', join(image, 'dist')];
  await run(process.execPath, tsc);
  await cp(`${folder}/public`, join(image, 'dist/examples/service/public'), { recursive: true });

  t.deepEqual(
    copies(final).map(({ target }) => target),
    ['./', 'node_modules', 'build/Release/', 'dist'],
  );
  await cp(`${root}/package.json`, join(image, 'package.json'));
  await symlink(`${root}/node_modules`, join(image, 'node_modules'));
  await mkdir(join(image, 'build/Release'), { recursive: true });
  for (const name of await readdir(`${root}/build/Release`)) {
    if (name.endsWith('.node')) await cp(`${root}/build/Release/${name}`, join(image, 'build/Release', name));
  }
  const [, command = '[]'] = /^CMD (.*)$/m.exec(final) ?? [];
  const [node, ...args] = JSON.parse(command) as string[];
  t.is(node, 'node');
  const { url, server, ended } = await startService(t, { NODE_ENV: 'production' }, args, image);
  t.is((await fetch(url)).status, 200);
  const [, health = '[]'] = /^HEALTHCHECK CMD (.*)$/m.exec(final) ?? [];
  const [, ...checks] = JSON.parse(health) as string[];
  const check = (port: string) => run(process.execPath, checks, { env: { ...process.env, PORT: port } });
  await check(new URL(url).port);
  server.kill('SIGTERM');
  t.is(await ended, 0);
  await t.throwsAsync(check(new URL(url).port), { code: 1 } as object);
});
