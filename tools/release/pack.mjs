/**
 * `npm run release:pack`: the packages as they are published, into build/release: the main one, and the one that holds the
 * prebuilt addon for this platform. Says what is inside, how large it is and what it needs.
 */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { buildAddon } from '../native-build.mjs';
import { isMain, ROOT, runScript, runStep, SetupError, say } from '../process.mjs';

const OUT = join(ROOT, 'build', 'release');
const source = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const platform = `${process.platform}-${process.arch}`;
const prebuilt = `@${source.name}/${platform}`;

/** What `npx kalman-norm build` compiles against, lest a user's project needs packages for it. */
const HEADERS = {
  'node-api-headers': [
    'include/js_native_api.h',
    'include/js_native_api_types.h',
    'include/node_api.h',
    'include/node_api_types.h',
    'LICENSE',
  ],
  'node-addon-api': ['napi.h', 'napi-inl.h', 'napi-inl.deprecated.h', 'LICENSE.md'],
};
/** Libraries that every Linux with a Node.js of its own has; all others go with the addon. */
export const OF_THE_SYSTEM = /^(linux-vdso|ld-linux|ld-[\d.]+\.so|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so)/;

/**
 * Builds and packs both packages.
 *
 * @returns the tarballs' paths, the main one first
 */
export async function pack() {
  if (process.platform !== 'linux') throw new SetupError('Prebuilt addons are packed on Linux.');
  await buildAddon({ everyProcessor: true });
  // Nothing of an older build may slip in.
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  await runStep(['npm', 'run', '--silent', 'build:types']);
  rmSync(OUT, { recursive: true, force: true });
  const folders = [stageMain(), await stagePrebuilt()];
  return folders.map((folder) => {
    const [{ filename, size, unpackedSize, entryCount }] = npmPack(folder, ['--pack-destination', OUT]);
    say(`${filename}: ${megabytes(size)}, unpacked ${megabytes(unpackedSize)}, ${entryCount} files`);
    return join(OUT, filename);
  });
}

/** The main package: the compiled library, and the sources for those whom no prebuilt addon fits. */
function stageMain() {
  const folder = join(OUT, source.name);
  for (const { path } of npmPack(ROOT, ['--dry-run'])[0].files) copy(join(ROOT, path), join(folder, path));
  for (const [name, files] of Object.entries(HEADERS)) {
    for (const file of files) {
      const target = file.startsWith('LICENSE') ? `LICENSE.${name}` : basename(file);
      copy(join(ROOT, 'node_modules', name, file), join(folder, 'native', 'headers', target));
    }
  }
  const { private: _private, scripts: _scripts, ava: _ava, devDependencies: _dev, ...published } = source;
  write(folder, { ...published, optionalDependencies: { [prebuilt]: source.version } });
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  writeFileSync(join(folder, 'README.md'), absoluteLinks(readme));
  return folder;
}

/** The addon of this platform, stripped, with the libraries that it needs and a system may lack. */
async function stagePrebuilt() {
  const folder = join(OUT, platform);
  mkdirSync(folder, { recursive: true });
  await runStep(['cmake', '--install', 'build', '--strip', '--prefix', folder]);
  const addons = ['kalman_norm.node', 'kalman_norm_jpeg.node'].map((name) => join(folder, name));
  if (!existsSync(addons[1])) throw new SetupError('The addon for JPEGs is not built: install libjpeg62-turbo-dev.');
  const libraries = neededLibraries(addons);
  for (const { name, path } of libraries) {
    copy(path, join(folder, name));
    // Debian's libraries belong to root and can't be executed; npm wants neither.
    chmodSync(join(folder, name), 0o755);
    copy(licenceOf(path), join(folder, 'licenses', `${name}.txt`));
  }
  copy(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'));

  const binaries = readdirSync(folder).filter((name) => /\.(node|so[.\d]*)$/.test(name));
  const needs = newestSymbols(binaries.map((name) => join(folder, name)));
  const { version, license, engines, repository } = source;
  const [os, cpu] = [process.platform, process.arch];
  const description = `The native addon of ${source.name} for ${platform} with glibc`;
  const manifest = {
    name: prebuilt,
    version,
    description,
    license,
    repository,
    engines,
    os: [os],
    cpu: [cpu],
    libc: ['glibc'],
  };
  write(folder, { ...manifest, files: [...binaries, 'licenses'] });
  const readme = [
    `# ${prebuilt}`,
    `${description}: an optional dependency of [${source.name}](${repositoryUrl()}), not for use by itself.`,
    `It needs ${Object.entries(needs)
      .map(([name, of]) => `${name} ${of}`)
      .join(' and ')} or newer. ` +
      `${libraries.map(({ name }) => name).join(', ') || 'Nothing'} is part of it; licenses/ has their terms.`,
  ];
  writeFileSync(join(folder, 'README.md'), `${readme.join('\n\n')}\n`);
  say(`${platform} needs ${JSON.stringify(needs)}; with it: ${libraries.map(({ name }) => name).join(', ')}`);
  return folder;
}

/** `{ name, path }` of the shared libraries of binaries that can't be expected of a system. */
function neededLibraries(binaries) {
  const lines = execFileSync('ldd', binaries, { encoding: 'utf8' }).split('\n');
  const found = lines.map((line) => /^\s*(\S+) => (.*?)( \(0x[\da-f]+\))?$/.exec(line)).filter(Boolean);
  const paths = new Map(found.map(([, name, path]) => [name, path]).filter(([name]) => !OF_THE_SYSTEM.test(name)));
  return [...paths].map(([name, path]) => {
    if (path === 'not found') throw new SetupError(`${binaries.join(' or ')} needs ${name}, which isn't there.`);
    return { name, path: realpathSync(path) };
  });
}

/** The licence of a library of a Debian package. */
function licenceOf(path) {
  // The file that a link in /lib may hide is listed under /usr/lib.
  const owner = execFileSync('dpkg', ['-S', path], { encoding: 'utf8' }).split(':')[0];
  return join('/usr/share/doc', owner, 'copyright');
}

/** The newest version of the symbols that binaries take from the C and C++ libraries: `{ glibc, libstdc++ }`. */
export function newestSymbols(binaries) {
  const symbols = binaries.map((path) => execFileSync('objdump', ['-T', path], { encoding: 'utf8' })).join('');
  const newest = (prefix) =>
    [...symbols.matchAll(new RegExp(`\\b${prefix}_([\\d.]+)`, 'g'))]
      .map(([, version]) => version)
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .at(-1);
  return { glibc: newest('GLIBC'), 'libstdc++': newest('GLIBCXX') };
}

/** The README's relative links, made to work outside of the repository. Throws where one leads nowhere. */
export function absoluteLinks(markdown) {
  return markdown.replace(/\]\(((?!https?:|#)[^)#\s]+)(#[^)\s]*)?\)/g, (_link, path, fragment = '') => {
    const target = join(ROOT, path);
    if (!existsSync(target)) throw new SetupError(`README.md links to ${path}, which doesn't exist.`);
    const kind = /\.(svg|png)$/.test(path) ? 'raw' : statSync(target).isDirectory() ? 'tree' : 'blob';
    return `](${repositoryUrl()}/${kind}/main/${path}${fragment})`;
  });
}

function repositoryUrl() {
  return source.repository.url.replace(/^git\+|\.git$/g, '');
}

function npmPack(folder, flags) {
  const args = ['pack', '--json', '--ignore-scripts', ...flags];
  return Object.values(JSON.parse(execFileSync('npm', args, { cwd: folder, encoding: 'utf8' })));
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

function write(folder, manifest) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;
}

if (isMain(import.meta.url)) {
  await runScript(async () => {
    for (const tarball of await pack()) console.log(tarball);
  });
}
