/**
 * Finds or installs what the package needs: system packages, npm packages, the native addon.
 *
 * Needs nothing but Node itself, because it runs before `npm ci`. The decisions are pure functions that take what was
 * observed and say what is to be done and why; the `ensure...` functions observe, decide, show and act. Everything
 * is said on stderr, so that the stdout of a test run stays valid TAP.
 *
 *     node tools/setup.mjs [--data] [--fonts] [--checks] [--system-only]
 */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
// Names that old versions of Node lack (in os, in util) come from the module's default export, and not by import: a
// missing one must not keep nodeProblem() from speaking.

const ADDON = 'build/Release/kalman_norm.node';
const BUILD_STAMP = 'build/kalman_norm.stamp.json';
const OLDEST_NODE = [20, 10];
const OLDEST_GXX = 12;

/** Something a person has to put right: the message is meant for them, and no stack trace is shown. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.name = 'SetupError';
    this.exitCode = exitCode;
  }
}

// ---------------------------------------------------------------------------------------------------- decisions

/** What is wrong with this version of Node, or null. */
export function nodeProblem(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [needMajor, needMinor] = OLDEST_NODE;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return null;
  return `kalman-norm needs Node.js ${needMajor}.${needMinor} or newer; this is ${version} (https://nodejs.org has newer ones).`;
}

/**
 * The system packages: their Debian names, what to look for elsewhere, and how to see that they are there.
 * `probes` is what {@link systemProbes} returns.
 */
const SYSTEM_PACKAGES = [
  {
    debian: 'g++',
    elsewhere: `a C++ compiler (g++ ${OLDEST_GXX} or newer)`,
    present: (probes) => (probes.gxxVersion() ?? 0) >= OLDEST_GXX,
  },
  {
    debian: 'make',
    elsewhere: 'GNU make (or Ninja)',
    present: (probes) => probes.hasCommand('make') || probes.hasCommand('ninja'),
  },
  { debian: 'cmake', elsewhere: 'CMake', present: (probes) => probes.hasCommand('cmake') },
  {
    debian: 'libdnnl-dev',
    elsewhere: 'oneDNN with its headers (dnnl.hpp)',
    // Asking the compiler costs a process, and finds what lies outside /usr/include.
    present: (probes) => probes.exists('/usr/include/dnnl.hpp') || probes.canInclude('dnnl.hpp'),
  },
  {
    debian: 'dataset-fashion-mnist',
    elsewhere: 'the four gzip files of Fashion-MNIST in /usr/share/datasets/fashion-mnist',
    neededFor: 'data',
    present: (probes) =>
      ['train-images-idx3', 'train-labels-idx1', 't10k-images-idx3', 't10k-labels-idx1'].every((name) =>
        probes.exists(`/usr/share/datasets/fashion-mnist/${name}-ubyte.gz`),
      ),
  },
  {
    debian: 'fonts-dejavu-core',
    elsewhere: 'the DejaVu fonts',
    neededFor: 'fonts',
    present: (probes) => probes.exists('/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf'),
  },
  ...['clang-format', 'clang-tidy'].map((tool) => ({
    debian: tool,
    elsewhere: tool,
    neededFor: 'checks',
    present: (probes) => probes.hasCommand(tool),
  })),
  {
    debian: 'chromium',
    elsewhere: 'Chromium, for the tests of web pages',
    neededFor: 'checks',
    present: (probes) => probes.hasCommand('chromium'),
  },
];

/**
 * What is to be done about system packages.
 *
 * @param probes see {@link systemProbes}; tests give their own
 * @returns `action`: `none`, `install` (run `commands`) or `tell` (say `message` and stop)
 */
export function planSystemPackages(probes, { needData = false, needFonts = false, needChecks = false } = {}) {
  const needed = { data: needData, fonts: needFonts, checks: needChecks };
  const wanted = SYSTEM_PACKAGES.filter(({ neededFor }) => !neededFor || needed[neededFor]);
  const missing = wanted.filter((item) => !item.present(probes));
  const names = missing.map((item) => item.debian);
  if (missing.length === 0) return { action: 'none', missing: names, commands: [], message: '' };

  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...names];
  const tooOld = names.includes('g++') ? probes.gxxVersion() : null;
  const found = tooOld === null ? '' : ` (g++ ${tooOld} is too old: ${OLDEST_GXX} or newer is needed)`;
  if (!probes.hasApt()) {
    const list = missing.map((item) => `  - ${item.elsewhere}`).join('\n');
    const message = `These are missing on this system${found}; please install them with its own package manager:\n${list}`;
    return { action: 'tell', missing: names, commands: [], message };
  }
  if (!probes.isRoot()) {
    const command = `sudo apt-get install -y ${names.join(' ')}`;
    const message = `Missing system packages: ${names.join(', ')}${found}. This installs them:\n\n  ${command}\n`;
    return { action: 'tell', missing: names, commands: [], message };
  }
  const message = `Missing system packages: ${names.join(', ')}${found}.`;
  return { action: 'install', missing: names, commands: [['apt-get', 'update'], install], message };
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

// ---------------------------------------------------------------------------------------------------- observing

/** Looks at this machine. */
export function systemProbes() {
  const compiler = process.env.CXX || 'g++';
  const output = (command, args, input) => {
    const { status, stdout } = spawnSync(command, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] });
    return status === 0 ? stdout : null;
  };
  return {
    isRoot: () => process.getuid?.() === 0,
    hasApt: () => existsSync('/etc/debian_version') && hasCommand('apt-get'),
    hasCommand,
    exists: existsSync,
    /** The major version, or null. */
    gxxVersion: () => Number.parseInt(output(compiler, ['-dumpversion']) ?? '', 10) || null,
    canInclude: (header) => output(compiler, ['-E', '-x', 'c++', '-'], `#include <${header}>\n`) !== null,
  };
}

export function hasCommand(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, name)));
}

/** A JSON file of the checkout, or null. */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
  } catch (error) {
    // A record that was cut short is as good as none; npm writes a new one.
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The time (ms) of this path of the checkout, or null. */
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

// ----------------------------------------------------------------------------------------------------- ensuring

/** Checks the version of Node; to be called first. */
export function ensureNode() {
  const problem = nodeProblem(process.version);
  if (problem) throw new SetupError(problem);
}

/**
 * Installs missing system packages where that is possible (Debian, as root); otherwise says what is missing and stops.
 *
 * @param options.needData Fashion-MNIST is needed
 * @param options.needFonts the report's PNG needs a font
 * @param options.needChecks `npm run check:native` needs its tools
 */
export async function ensureSystemPackages(options = {}) {
  const probes = systemProbes();
  const plan = planSystemPackages(probes, options);
  if (plan.action === 'none') return;
  if (plan.action === 'tell') throw new SetupError(plan.message);

  say(plan.message);
  for (const command of plan.commands) {
    // Without fresh lists (one mirror down, say) the installation may still succeed: let it tell.
    const optional = command.includes('update');
    await runStep(command, { env: { DEBIAN_FRONTEND: 'noninteractive' }, optional });
  }
  const still = planSystemPackages(probes, options);
  if (still.action !== 'none') throw new SetupError(`${still.message} They are missing after the installation, too.`);
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

/** Builds the native addon unless it is newer than its sources. */
export async function ensureBuild() {
  const reason = buildReason(builtAt(), nativeSources());
  if (reason === null) return;
  say(`Building the native addon: ${reason}.`);
  const began = Date.now();
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(os.availableParallelism());
  await runStep(['npm', 'run', '--silent', 'build:native'], { env: { CMAKE_BUILD_PARALLEL_LEVEL: jobs } });
  const addon = modifiedAt(ADDON);
  if (addon === null) throw new SetupError(`The native build ended well, but made no ${ADDON}.`);
  writeFileSync(join(ROOT, BUILD_STAMP), JSON.stringify({ addon, began }));
}

/** Shows and runs one command of the set-up, which has to succeed unless `optional`. */
async function runStep(command, { env = {}, optional = false } = {}) {
  const line = command.join(' ');
  say(`$ ${line}`);
  const code = await run(command[0], command.slice(1), { env, quiet: true });
  if (code === 0) return;
  if (code > 128) throw new SetupError(`Set-up interrupted during: ${line}`, code);
  if (!optional) throw new SetupError(`${line} failed (exit status ${code}); its messages are above.`);
}

/** All of it, in order. */
export async function setUp(options = {}) {
  ensureNode();
  await ensureSystemPackages(options);
  await ensureNpmPackages();
  await ensureBuild();
}

// ----------------------------------------------------------------------------------------------------- processes

/** One line for people, kept out of stdout. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a program in the package's folder to its end and gives its exit status, 128 + the signal's number where one
 * ended it.
 *
 * Signals end the child, not this process, so that the child can put its files in order first. In a terminal Ctrl-C
 * reaches the child without our help, and a second one might make it stop at once; so it is passed on only elsewhere.
 *
 * @param options.env variables to add
 * @param options.quiet no stdin, and stdout goes to stderr
 */
export function run(command, args, { env = {}, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: quiet ? ['ignore', process.stderr, process.stderr] : 'inherit',
    });
    const onSignal = (signal) => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    };
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, onSignal);
    const done = () => {
      for (const signal of signals) process.off(signal, onSignal);
    };
    child.on('error', (error) => {
      done();
      reject(new SetupError(`${command} could not be started: ${error.message}`));
    });
    child.on('exit', (code, signal) => {
      done();
      resolve(code ?? 128 + os.constants.signals[signal]);
    });
  });
}

/** Runs a script's main function: its result is the exit status, and a SetupError is said without a stack trace. */
export async function runScript(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = error.exitCode;
  }
}

/** Whether the module with this URL is what `node` was started with. */
export function isMain(url) {
  const started = process.argv[1];
  return started !== undefined && existsSync(started) && realpathSync(started) === fileURLToPath(url);
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
