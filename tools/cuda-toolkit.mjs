/** Finds what the CUDA scripts need: the toolkit, and NVIDIA's libraries. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { cmakeBuild } from './native-build.mjs';
import { isMain, ROOT, run, SetupError, say } from './process.mjs';

/** Where `npm run cuda:libraries` puts NVIDIA's Python wheels; the build and the addon look there. */
export const WHEELS = join(os.homedir(), '.cache', 'kalman-norm', 'cuda');
const OLDEST_TOOLKIT = [12, 4];
/** By the toolkit's major version: those that the checks were last run with; CUDA 12 hasn't been tried. */
const WHEELS_OF_TOOLKIT = {
  12: ['nvidia-cudnn-cu12>=9,<10', 'nvidia-cublas-cu12'],
  13: ['nvidia-cudnn-cu13==9.24.0.43', 'nvidia-cublas==13.1.1.3'],
};

const NCCL_OF_TOOLKIT = { 12: 'nvidia-nccl-cu12>=2.14', 13: 'nvidia-nccl-cu13==2.30.7' };

/** `{ nvcc, root, include, version: [major, minor] }` of the CUDA toolkit, or null. */
export function findToolkit() {
  const folders = [process.env.CUDA_HOME, process.env.CUDA_PATH].filter(Boolean).map((home) => join(home, 'bin'));
  const path = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const named = process.env.CUDACXX ? [process.env.CUDACXX] : [];
  const candidates = [...named, ...[...folders, ...path, '/usr/local/cuda/bin'].map((folder) => join(folder, 'nvcc'))];
  for (const candidate of candidates) {
    if (!existsSync(candidate)) continue;
    const { stdout } = spawnSync(candidate, ['--version'], { encoding: 'utf8' });
    const match = /release (\d+)\.(\d+)/.exec(stdout ?? '');
    if (!match) continue;
    // nvcc may be a link or a script; its own word on where the toolkit lies is the best.
    const dry = spawnSync(candidate, ['--dryrun', '-c', '-x', 'cu', '/dev/null', '-o', '/dev/null'], {
      encoding: 'utf8',
    });
    const top = /#\$ TOP=(.*)/.exec(dry.stderr ?? '')?.[1]?.trim();
    const roots = [top, dirname(dirname(realpathSync(candidate)))].filter(Boolean);
    const root = roots.find((folder) => existsSync(join(folder, 'include', 'cuda_runtime_api.h')));
    if (!root) continue;
    const version = [Number(match[1]), Number(match[2])];
    return { nvcc: candidate, root: realpathSync(root), include: join(realpathSync(root), 'include'), version };
  }
  return null;
}

/** The toolkit, or a SetupError that says how to get one. */
export function needToolkit() {
  const toolkit = findToolkit();
  const [major, minor] = OLDEST_TOOLKIT;
  if (!toolkit) {
    throw new SetupError(
      `No CUDA toolkit: nvcc is neither on PATH nor in CUDA_HOME or /usr/local/cuda. CUDA ${major}.${minor} or newer is needed (https://developer.nvidia.com/cuda-downloads).`,
    );
  }
  if (toolkit.version[0] < major || (toolkit.version[0] === major && toolkit.version[1] < minor)) {
    throw new SetupError(`${toolkit.nvcc} is CUDA ${toolkit.version.join('.')}; ${major}.${minor} or newer is needed.`);
  }
  return toolkit;
}

/** Folders of NVIDIA's wheels, as `{ include, lib }` lists, under the places where the build looks. */
export function wheelFolders() {
  const roots = [...(process.env.KN_CUDA_PATH ?? '').split(':'), WHEELS].filter(Boolean);
  const parts = roots.flatMap((root) => {
    const nvidia = join(root, 'nvidia');
    return existsSync(nvidia) ? readdirSync(nvidia).map((name) => join(nvidia, name)) : [root];
  });
  const existing = (folder) => parts.map((part) => join(part, folder)).filter((path) => existsSync(path));
  return { include: existing('include'), lib: existing('lib') };
}

/** cuobjdump of the toolkit, of PATH or of Triton's wheel; null where there is none. */
export function disassembler() {
  const folders = [join(findToolkit()?.root ?? '', 'bin'), ...(process.env.PATH ?? '').split(delimiter)];
  const places = [...folders, join(WHEELS, 'triton', 'backends', 'nvidia', 'bin')].map((folder) =>
    join(folder, 'cuobjdump'),
  );
  return places.find((path) => existsSync(path)) ?? null;
}

/** Whether the headers of cuDNN and cuBLAS are where the build looks for them. */
export function hasLibraries() {
  return ['cudnn.h', 'cublasLt.h'].every(hasHeader);
}

/** Whether the header of NCCL is. */
export function hasNccl() {
  return hasHeader('nccl.h');
}

function hasHeader(header) {
  const folders = [...wheelFolders().include, needToolkit().include, '/usr/include', '/usr/include/x86_64-linux-gnu'];
  return folders.some((folder) => existsSync(join(folder, header)));
}

/** Installs cuDNN and cuBLAS as Python wheels into the cache of the package, unless they are there. */
export async function ensureLibraries() {
  if (hasLibraries()) return;
  const { version } = needToolkit();
  await installWheels(WHEELS_OF_TOOLKIT[version[0]] ?? WHEELS_OF_TOOLKIT[13], 'about 1 GB');
}

/** The same for NCCL, which processes with a GPU each talk over. */
export async function ensureNccl() {
  if (!hasNccl()) await installWheels([NCCL_OF_TOOLKIT[needToolkit().version[0]] ?? NCCL_OF_TOOLKIT[13]], '0.3 GB');
}

/** Installs a disassembler, which the wheel of Triton has, unless there is one. */
export async function ensureDisassembler() {
  if (!disassembler()) await installWheels(['triton==3.8.0'], 'about 1 GB');
}

async function installWheels(wheels, size) {
  say(`Installing ${wheels.join(' and ')} (${size}) into ${WHEELS}.`);
  mkdirSync(WHEELS, { recursive: true });
  // Aside: into a folder that has "nvidia" already pip puts nothing, or takes out what is there.
  const fresh = mkdtempSync(join(WHEELS, '.new-'));
  try {
    const args = ['-m', 'pip', 'install', '--quiet', '--retries', '0', '--no-deps', '--target', fresh, ...wheels];
    const code = await run('python3', args, { quiet: true });
    if (code !== 0) throw new SetupError(`pip could not install ${wheels.join(' and ')}; its messages are above.`);
    const nvidia = existsSync(join(fresh, 'nvidia')) ? readdirSync(join(fresh, 'nvidia')) : [];
    mkdirSync(join(WHEELS, 'nvidia'), { recursive: true });
    const names = readdirSync(fresh).filter((name) => name !== 'nvidia');
    for (const name of [...names, ...nvidia.map((part) => join('nvidia', part))]) {
      rmSync(join(WHEELS, name), { recursive: true, force: true });
      renameSync(join(fresh, name), join(WHEELS, name));
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Runs a command that has to succeed; its output goes to stderr. */
export async function step(command, args, options = {}) {
  const code = await run(command, args, { quiet: true, ...options });
  if (code > 128) throw new SetupError(`Interrupted during: ${command} ${args.join(' ')}`, code);
  if (code !== 0) throw new SetupError(`${command} ${args.join(' ')} failed (exit status ${code}).`);
}

/** Builds the emulated device. `sanitize`: address or thread. Gives the library's path. */
export async function buildEmulation(sanitize = '') {
  const { include } = needToolkit();
  const build = join('build', sanitize ? `emulation-${sanitize}` : 'emulation');
  await cmakeBuild('native/emulation', build, {
    KN_SANITIZE: sanitize,
    KN_OUTPUT: join(ROOT, build),
    CUDA_INCLUDE: include,
  });
  return join(ROOT, build, 'kalman_norm_cuda_emulated.so');
}

// As a program it tells whether there is a toolkit, for shell scripts.
if (isMain(import.meta.url)) process.exitCode = findToolkit() ? 0 : 1;
