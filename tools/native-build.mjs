/** `npm run build:native` (`node tools/native-build.mjs`): builds the native addon, build/Release/kalman_norm.node. */

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { hasCommand, isMain, ROOT, runScript, runStep, SetupError, say } from './process.mjs';

const ADDON = 'build/Release/kalman_norm.node';
const BUILD_STAMP = 'build/kalman_norm.stamp.json';

/**
 * Why the native addon has to be built, or null.
 *
 * @param builtAt when the addon was last known to be up to date (ms), or null if there is none
 * @param sources `{ path, modifiedAt }` of every file and folder it is made of (a folder changes when a file goes)
 */
export function buildReason(builtAt, sources) {
  if (builtAt === null) return 'the native addon is not built yet';
  const newer = sources.find(({ modifiedAt }) => modifiedAt > builtAt);
  return newer ? `${newer.path} is newer than the native addon` : null;
}

/** A JSON file of the package, or null. */
export function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
  } catch (error) {
    // A record that was cut short is as good as none; npm writes a new one.
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The time (ms) of this path of the package, or null. */
function modifiedAt(path) {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? null;
}

/** Every file and folder of the addon's sources, with its time. */
function nativeSources() {
  const native = readdirSync(join(ROOT, 'native'), { recursive: true }).map((name) => join('native', name));
  return ['CMakeLists.txt', 'native', ...native].map((path) => ({ path, modifiedAt: modifiedAt(path) ?? 0 }));
}

/**
 * When the addon was last known to be up to date, or null. Its own time isn't enough: make leaves it alone if a change
 * didn't concern it, and a source may change while it is compiled. So the stamp says when the build of just this addon
 * began. An addon built by other means has no stamp, and counts by its own time.
 */
function builtAt() {
  const time = modifiedAt(ADDON);
  const stamp = readJson(BUILD_STAMP);
  return time !== null && stamp?.addon === time ? stamp.began : time;
}

/**
 * Configures and builds one of the package's CMake projects.
 *
 * @param source the project's folder, of the package
 * @param build where it is built
 * @param definitions for CMake
 * @param options.target what to build; everything by default
 */
export async function cmakeBuild(source, build, definitions = {}, { target } = {}) {
  const flags = Object.entries(definitions).map(([name, value]) => `-D${name}=${value}`);
  // A folder that was configured before keeps its generator.
  const fresh = !existsSync(join(ROOT, build, 'CMakeCache.txt'));
  const generator = fresh && !process.env.CMAKE_GENERATOR && hasCommand('ninja') ? ['-G', 'Ninja'] : [];
  await runStep(['cmake', '-S', source, '-B', build, ...generator, '-DCMAKE_BUILD_TYPE=Release', ...flags]);
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(os.availableParallelism());
  await runStep(['cmake', '--build', build, '--parallel', jobs, ...(target ? ['--target', target] : [])]);
}

/**
 * Builds the native addon, or what of it has changed.
 *
 * @param options.everyProcessor also the one for processors without AVX2
 */
export function buildAddon({ everyProcessor = false } = {}) {
  return cmakeBuild('.', 'build', { KN_EVERY_PROCESSOR: everyProcessor ? 'ON' : 'OFF' });
}

/** Builds the native addon unless it is newer than its sources. */
export async function ensureBuild() {
  const reason = buildReason(builtAt(), nativeSources());
  if (reason === null) return;
  say(`Building the native addon: ${reason}.`);
  const began = Date.now();
  await buildAddon();
  const addon = modifiedAt(ADDON);
  if (addon === null) throw new SetupError(`The native build ended well, but made no ${ADDON}.`);
  writeFileSync(join(ROOT, BUILD_STAMP), JSON.stringify({ addon, began }));
}

if (isMain(import.meta.url)) await runScript(() => buildAddon());
