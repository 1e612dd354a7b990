/**
 * Finds or installs what a checkout needs: system packages, npm packages, the native addon.
 *
 * Needs nothing but Node itself, because it runs before `npm ci`. The decisions are pure functions that take what was
 * observed and say what is to be done and why; the `ensure...` functions observe, decide, show and act. Everything
 * is said on stderr, so that the stdout of a test run stays valid TAP.
 *
 *     node tools/setup.mjs [--data] [--fonts] [--checks] [--system-only]
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuild, readJson } from './native-build.mjs';
import { isMain, ROOT, runScript, runStep, SetupError, say } from './process.mjs';
import { ensureSystemPackages } from './system-packages.mjs';

const OLDEST_NODE = [20, 10];

/** What is wrong with this version of Node, or null. */
export function nodeProblem(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [needMajor, needMinor] = OLDEST_NODE;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return null;
  return `kalman-norm needs Node.js ${needMajor}.${needMinor} or newer; this is ${version} (https://nodejs.org has newer ones).`;
}

/**
 * Why `npm ci` has to run, or null.
 *
 * @param lock the parsed package-lock.json
 * @param installed the parsed node_modules/.package-lock.json, npm's own record of what it put there; null if there is none
 * @param machine.exists whether this path of the checkout exists
 */
export function npmReason(lock, installed, { platform, arch, exists }) {
  if (installed === null) return 'node_modules is missing or incomplete';
  const { '': _root, ...locked } = lock.packages ?? {};
  const present = installed.packages ?? {};
  for (const [path, entry] of Object.entries(locked)) {
    // npm leaves out optional packages that are for other platforms.
    if (!(path in present) && !entry.optional && !entry.devOptional) return `${path} is not installed`;
    if (!(path in present)) continue;
    const { version, integrity } = present[path];
    if (version !== entry.version) return `${path} is ${version}, package-lock.json says ${entry.version}`;
    if (integrity !== entry.integrity) return `${path} is not the file that package-lock.json names`;
  }
  for (const [path, entry] of Object.entries(present)) {
    if (!(path in locked)) return `${path} is installed, but not in package-lock.json`;
    if (!fits(entry.os, platform) || !fits(entry.cpu, arch)) return `${path} was installed for another platform`;
    if (!exists(path)) return `${path} is gone`;
  }
  return null;
}

/** npm's rule for the `os` and `cpu` fields: a list of names, `!name` excludes. */
function fits(list, name) {
  if (!list || list.length === 0) return true;
  if (list.includes(`!${name}`)) return false;
  return list.includes(name) || list.every((item) => item.startsWith('!'));
}

/** Checks the version of Node; to be called first. */
export function ensureNode() {
  const problem = nodeProblem(process.version);
  if (problem) throw new SetupError(problem);
}

/** Installs the npm packages of package-lock.json unless they are there. */
export async function ensureNpmPackages() {
  const lock = readJson('package-lock.json');
  if (lock === null) throw new SetupError('package-lock.json is missing or is not JSON: is this a complete checkout?');
  const reason = npmReason(lock, readJson('node_modules/.package-lock.json'), {
    platform: process.platform,
    arch: process.arch,
    exists: (path) => existsSync(join(ROOT, path)),
  });
  if (reason === null) return;
  say(`npm packages: ${reason}.`);
  // No package here needs an install script, and NODE_ENV=production mustn't leave out the test runner.
  await runStep(['npm', 'ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund']);
}

/** All of it, in order. */
export async function setUp(options = {}) {
  ensureNode();
  await ensureSystemPackages(options);
  await ensureNpmPackages();
  await ensureBuild();
}

if (isMain(import.meta.url)) {
  await runScript(async () => {
    const flags = process.argv.slice(2);
    const unknown = flags.find((flag) => !['--data', '--fonts', '--checks', '--system-only'].includes(flag));
    if (unknown) {
      throw new SetupError(`${unknown}?\nUsage: node tools/setup.mjs [--data] [--fonts] [--checks] [--system-only]`, 2);
    }
    const [needData, needFonts, needChecks] = ['--data', '--fonts', '--checks'].map((flag) => flags.includes(flag));
    const options = { needData, needFonts, needChecks };
    await (flags.includes('--system-only') ? ensureSystemPackages(options) : setUp(options));
    say('Set-up complete.');
  });
}
