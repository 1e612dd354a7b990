/**
 * Finds or installs the system packages that the package and its checks need. The decision is a pure function that takes
 * what was observed and says what is to be done and why.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { hasCommand, runStep, SetupError, say } from './process.mjs';

const OLDEST_GXX = 12;

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
  {
    debian: 'libgloo-dev',
    elsewhere: 'Gloo with its headers, for training in several processes',
    neededFor: 'checks',
    present: (probes) => probes.exists('/usr/include/gloo/allreduce.h') || probes.canInclude('gloo/allreduce.h'),
  },
  {
    debian: 'libjpeg62-turbo-dev',
    elsewhere: 'libjpeg-turbo with its headers, for decoding JPEGs in threads',
    neededFor: 'checks',
    present: (probes) => probes.exists('/usr/include/jpeglib.h') || probes.canInclude('jpeglib.h'),
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
