import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { findAddon, type Platform } from '../lib/addon/find.js';
import { KalmanNormError } from '../lib/index.js';

const built = fileURLToPath(new URL('../build/Release', import.meta.url));
const debian: Platform = { os: 'linux', arch: 'x64', glibc: '2.36' };
const released = { name: 'kalman-norm', version: '1.2.3', optionalDependencies: { '@kalman-norm/linux-x64': '1.2.3' } };

/** A package as npm installs it, in a project with these files: its folder. */
function installed(t: ExecutionContext, manifest: object, files: Readonly<Record<string, string>> = {}): string {
  const modules = join(mkdtempSync(join(tmpdir(), 'kalman-norm-find-')), 'node_modules');
  t.teardown(() => rmSync(dirname(modules), { recursive: true }));
  for (const [path, text] of Object.entries({ 'kalman-norm/package.json': JSON.stringify(manifest), ...files })) {
    mkdirSync(dirname(join(modules, path)), { recursive: true });
    writeFileSync(join(modules, path), text);
  }
  return join(modules, 'kalman-norm');
}

const platformPackage = { '@kalman-norm/linux-x64/package.json': JSON.stringify({ version: '1.2.3' }) };

function refusal(t: ExecutionContext, root: string, platform = debian): string {
  const error = t.throws(() => findAddon(root, platform), { instanceOf: KalmanNormError, code: 'DEVICE_UNAVAILABLE' });
  return error.message.replaceAll(dirname(root), 'MODULES').replace(process.version, 'VERSION');
}

test('nothing installed: both places, and how to get either', (t) => {
  t.is(
    refusal(t, installed(t, released)),
    `The native addon can't be loaded on linux-x64 (glibc 2.36), Node VERSION. Tried:
  MODULES/kalman-norm/build/Release/kalman_norm.node: nothing was built here
  @kalman-norm/linux-x64: not installed: npm left out optional dependencies, or the lock file was made on another platform
What helps:
  npm install --include=optional kalman-norm@1.2.3
  npx kalman-norm build   (compiles it here, and says what is missing for that)`,
  );
});

test('platforms without a prebuilt addon are told to build', (t) => {
  const mac = refusal(t, installed(t, released), { os: 'darwin', arch: 'arm64', glibc: null });
  t.regex(mac, /on darwin-arm64, Node/);
  t.regex(
    mac,
    /@kalman-norm\/darwin-arm64: there is no prebuilt addon for this platform\nWhat helps:\n {2}npx kalman-norm/,
  );
  const alpine = refusal(t, installed(t, released), { ...debian, glibc: null });
  t.regex(alpine, /linux-x64 \(not glibc\)/);
  t.regex(alpine, /need glibc, which this system does not have\nWhat helps:\n {2}npx kalman-norm build/);
});

test('a prebuilt addon of another version, and one that cannot be loaded', (t) => {
  const old = { '@kalman-norm/linux-x64/package.json': JSON.stringify({ version: '1.2.2' }) };
  const message = refusal(t, installed(t, released, old));
  t.regex(message, /MODULES\/@kalman-norm\/linux-x64: version 1\.2\.2, but kalman-norm 1\.2\.3 needs 1\.2\.3/);
  t.regex(message, /What helps:\n {2}npm install kalman-norm@1\.2\.3/);
  const broken = { ...platformPackage, '@kalman-norm/linux-x64/kalman_norm_preload.node': 'not a library at all' };
  t.regex(refusal(t, installed(t, released, broken)), /MODULES\/@kalman-norm\/linux-x64: .*(too short|ELF)/);
});

test('a checkout is told its own command', (t) => {
  const message = refusal(t, installed(t, { name: 'kalman-norm', version: '1.2.3', private: true }));
  t.regex(message, /What helps:\n {2}npm run build:native$/);
});

/** A package of this version with this machine's addon as the prebuilt one: its folder, and the addon's. */
function prebuilt(t: ExecutionContext, version: string): { root: string; folder: string } {
  const name = `@kalman-norm/${process.platform}-${process.arch}`;
  const root = installed(
    t,
    { ...released, version, optionalDependencies: { [name]: version } },
    { [`${name}/package.json`]: JSON.stringify({ version }) },
  );
  const folder = join(dirname(root), name);
  for (const file of ['kalman_norm.node', 'kalman_norm_preload.node']) cpSync(join(built, file), join(folder, file));
  return { root, folder };
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

test('a prebuilt addon is found', (t) => {
  const { root, folder } = prebuilt(t, version);
  const found = findAddon(root);
  t.is(typeof found.addon.createCpuDevice, 'function');
  t.is(found.folder, folder);
});

test('an addon that was built from another version is refused, with the remedy', (t) => {
  const { root } = prebuilt(t, '9.8.7');
  const message = refusal(t, root, { ...debian, os: process.platform, arch: process.arch });
  t.true(message.includes(`built from ${version}, but this is 9.8.7\nWhat helps:`), message);
  t.regex(message, /npx kalman-norm build/);
});

test('a function that an addon lacks, built from other sources of the same version, is a typed error', async (t) => {
  const { addon } = findAddon(prebuilt(t, version).root);
  const lacking = addon as unknown as Record<string, () => void>;
  t.throws(() => lacking.inventedLater?.(), {
    instanceOf: KalmanNormError,
    code: 'DEVICE_UNAVAILABLE',
    message: /lacks "inventedLater": it was built from other sources\. What helps:\n {2}npx kalman-norm build/,
  } as object);
  t.is(await addon, addon);
  t.is(typeof `${addon}`, 'string');
  t.truthy(JSON.stringify(addon));
});
