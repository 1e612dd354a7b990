/**
 * `npm run cuda:ptx`: executes what nvcc makes of the kernels, without a GPU. The emulated device records kernel launches
 * with the memory before and after them; an interpreter runs the same launches in nvcc's PTX, and the memory has to agree.
 *
 *   step   every launch of a training step of a Kalman network, in float32 and in bfloat16
 *   sweep  every other instantiation of every kernel, on small tensors
 *
 * It fails where a launch differs, where a launched kernel is in no PTX, and where a kernel of the PTX was never launched.
 *
 *   --interpreter PATH   the PTX interpreter, which is no part of this project; default: ../shared/tools/ptxinterp.py
 *   --limit K            executes only the first K launches of each kernel and shape
 *   --processes N        default: 2
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildEmulation, findToolkit, needToolkit, step, WHEELS } from '../cuda-toolkit.mjs';
import { inParallel, ROOT, run, runScript, SetupError, say } from '../process.mjs';
import { setUp } from '../setup.mjs';

const SOURCES = join(ROOT, 'native', 'cuda', 'device');
/** Where nvcc's kernel_language.h lies. */
const LANGUAGE = join(ROOT, 'native', 'cuda', 'nvidia');
const PTX = join(ROOT, 'build', 'ptx');
const RECORD = join(PTX, 'record');
/** Of launches.ts. */
const PARTS = ['step', 'sweep'];
const HERE = dirname(fileURLToPath(import.meta.url));
const INTERPRETER = join(ROOT, '..', 'shared', 'tools', 'ptxinterp.py');
/** Python packages that are missing on this machine. */
const PACKAGES = join(dirname(WHEELS), 'python');
/** The oldest architecture with everything that the kernels use; otherwise as in native/cuda/CMakeLists.txt. */
const FLAGS = [
  '-arch=compute_80',
  '-std=c++20',
  '-O3',
  '-DNDEBUG',
  '-Xcompiler=-fPIC,-fvisibility=hidden',
  '-Werror=all-warnings',
  '-lineinfo',
  `-I${LANGUAGE}`,
];

await runScript(async () => {
  const options = parse(process.argv.slice(2));
  const interpreter = resolve(options.interpreter ?? INTERPRETER);
  if (!existsSync(interpreter)) {
    if (options.interpreter) throw new SetupError(`There is no PTX interpreter ${interpreter}.`, 2);
    return skip(`there is no PTX interpreter ${interpreter} (--interpreter PATH names another one)`);
  }
  if (!findToolkit()) return skip('there is no CUDA toolkit: nvcc is neither on PATH nor in CUDA_HOME');

  const python = await pythonEnvironment();
  await timed('PTX of all kernels', compileAll);
  await setUp();
  const library = await timed('emulated device', () => buildEmulation());
  rmSync(RECORD, { recursive: true, force: true });
  await timed('recorded launches', async () => {
    for (const part of PARTS) await record(part, library);
  });
  const folders = PARTS.flatMap((part) => ['--record', join(RECORD, part)]);
  const limits = ['--limit-per-kernel', options.limit, '--processes', options.processes];
  const args = ['--interpreter', interpreter, '--ptx', PTX, ...folders, ...limits];
  const code = await run('python3', [join(HERE, 'compare.py'), ...args], { env: python });
  console.log(`${code === 0 ? 'pass' : 'FAIL'}  cuda:ptx`);
  return code;
});

function parse(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        interpreter: { type: 'string' },
        limit: { type: 'string', default: '0' },
        processes: { type: 'string', default: '2' },
      },
    });
    for (const name of ['limit', 'processes']) {
      if (!/^\d+$/.test(values[name])) throw new TypeError(`--${name} takes a number, got ${values[name]}`);
    }
    return values;
  } catch (error) {
    const usage = 'Usage: npm run cuda:ptx -- [--interpreter PATH] [--limit K] [--processes N]';
    throw new SetupError(`${error.message}\n${usage}`, 2);
  }
}

function skip(reason) {
  console.log(`SKIPPED  cuda:ptx: ${reason}`);
}

async function timed(what, work) {
  const began = Date.now();
  const result = await work();
  say(`${what}: ${Math.round((Date.now() - began) / 1000)} s`);
  return result;
}

/** Makes PTX of every kernel file that has changed, or includes something that has. */
async function compileAll() {
  const { nvcc } = needToolkit();
  mkdirSync(PTX, { recursive: true });
  const names = readdirSync(SOURCES)
    .filter((file) => file.endsWith('.cu'))
    .map((file) => basename(file, '.cu'));
  for (const file of readdirSync(PTX)) {
    if (file.endsWith('.ptx') && !names.includes(basename(file, '.ptx'))) rmSync(join(PTX, file));
  }
  await inParallel(names, async (name) => {
    const [ptx, dependencies] = [join(PTX, `${name}.ptx`), join(PTX, `${name}.d`)];
    if (upToDate(ptx, dependencies)) return;
    rmSync(ptx, { force: true });
    await step(nvcc, ['-ptx', ...FLAGS, '-MD', '-MF', dependencies, '-o', ptx, join(SOURCES, `${name}.cu`)]);
  });
}

/** Whether a file is newer than all that a compiler's list of dependencies names, and than this script. */
function upToDate(file, list) {
  const time = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
  if (!existsSync(file) || !existsSync(list)) return false;
  const [, named = ''] = readFileSync(list, 'utf8').split(/ ?: /);
  const dependencies = named.split(/[\s\\]+/).filter(Boolean);
  return [fileURLToPath(import.meta.url), ...dependencies].every((path) => time(path) < time(file));
}

/** Runs launches.ts on the emulated device, which records. */
async function record(part, library) {
  const env = { KN_EMULATION_LIBRARY: library, KN_EMULATION_RECORD: join(RECORD, part) };
  await step(process.execPath, ['--import=tsx', join(HERE, 'launches.ts'), part], { env });
}

/** Variables with which Python finds NumPy; installs it where it is missing. */
async function pythonEnvironment() {
  const env = { PYTHONPATH: [PACKAGES, process.env.PYTHONPATH].filter(Boolean).join(':') };
  const present = () =>
    spawnSync('python3', ['-c', 'import numpy'], { env: { ...process.env, ...env }, stdio: 'ignore' }).status === 0;
  if (present()) return env;
  say(`Installing NumPy into ${PACKAGES}.`);
  const args = ['-m', 'pip', 'install', '--quiet', '--retries', '0', '--target', PACKAGES, 'numpy==2.4.6'];
  const code = await run('python3', args, { quiet: true });
  if (code !== 0 || !present()) throw new SetupError('pip could not install NumPy; its messages are above.');
  return env;
}
