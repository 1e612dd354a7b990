/**
 * `npm run cuda:check`: what can be proved of the CUDA device without a GPU.
 *
 *   resources  every kernel compiles for all architectures without register spills; registers and shared memory of each
 *   plans      cuDNN has a plan for every convolution and batch normalization of the networks, on every architecture
 *   accesses   the machine code of the streaming kernels moves 16 bytes an access
 *   nccl       NCCL's header and library have the interface that native/distributed/nccl declares
 *
 * Names of parts may follow, to run only those; `--reuse` takes the library that is built already.
 */

import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { disassembler, ensureLibraries, hasNccl, needToolkit, step, wheelFolders } from './cuda-toolkit.mjs';
import { inParallel, ROOT, run, runScript, SetupError, say } from './process.mjs';

const BUILD = join(ROOT, 'build', 'cuda');
const LIBRARY = join(ROOT, 'build', 'Release', 'kalman_norm_cuda.so');
const LOG = join(BUILD, 'build.log');
const PARTS = { resources, plans, accesses, nccl };

await runScript(async () => {
  const args = process.argv.slice(2);
  const named = args.filter((arg) => !arg.startsWith('--'));
  const unknown = named.find((name) => !(name in PARTS));
  if (unknown) throw new SetupError(`Unknown part "${unknown}"; there are ${Object.keys(PARTS).join(', ')}.`, 2);
  await ensureLibraries();
  const problems = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (named.length > 0 && !named.includes(name)) continue;
    const began = Date.now();
    const found = await part({ reuse: args.includes('--reuse') });
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(`${found.length === 0 ? 'pass' : 'FAIL'}  ${name} (${seconds} s)`);
    problems.push(...found);
  }
  for (const problem of problems) console.log(`  ${problem}`);
  return problems.length === 0 ? 0 : 1;
});

/** Prepares the build of the CUDA library and what checks it. */
function configure(nvcc) {
  const flags = ['-DCMAKE_BUILD_TYPE=Release', `-DCMAKE_CUDA_COMPILER=${nvcc}`, '-DKN_STRICT=ON'];
  return step('cmake', ['-S', 'native/cuda', '-B', BUILD, ...flags]);
}

/** Builds the library afresh; a spill ends the build. Prints what ptxas says of each kernel. */
async function resources({ reuse }) {
  const { nvcc } = needToolkit();
  if (!reuse || !existsSync(LOG) || !existsSync(LIBRARY)) {
    mkdirSync(BUILD, { recursive: true });
    await configure(nvcc);
    const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? '2';
    const args = ['--build', BUILD, '--clean-first', '--parallel', jobs, '--target', 'kalman_norm_cuda'];
    const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
    writeFileSync(LOG, stdout + stderr);
    if (status !== 0) {
      const errors = (stdout + stderr).split('\n').filter((line) => /error|warning|spill/i.test(line));
      return ['the build failed:', ...errors.slice(0, 30), `the whole log: ${LOG}`];
    }
  }
  const kernels = resourceUse(readFileSync(LOG, 'utf8'));
  if (kernels.length === 0) return [`no line about a kernel in ${LOG}; build without --reuse`];
  const names = demangle(kernels.map(({ symbol }) => symbol));
  const rows = new Map();
  for (const [i, { arch, registers, shared, stack, spills }] of kernels.entries()) {
    const row = rows.get(names[i]) ?? {
      name: names[i],
      registers: [],
      shared: 0,
      stack: 0,
      spills: 0,
      archs: new Set(),
    };
    row.registers.push(registers);
    row.shared = Math.max(row.shared, shared);
    row.stack = Math.max(row.stack, stack);
    row.spills = Math.max(row.spills, spills);
    row.archs.add(arch);
    rows.set(names[i], row);
  }
  console.log('registers  shared B  stack B  kernel');
  for (const { name, registers, shared, stack } of [...rows.values()].sort((a, b) => a.name.localeCompare(b.name))) {
    const range = `${Math.min(...registers)}-${Math.max(...registers)}`;
    console.log(`${range.padStart(9)}  ${String(shared).padStart(8)}  ${String(stack).padStart(7)}  ${name}`);
  }
  const archs = [...new Set(kernels.map(({ arch }) => arch))].sort();
  console.log(`${rows.size} kernels for ${archs.join(', ')}`);
  return [...rows.values()].filter(({ spills }) => spills > 0).map(({ name }) => `registers spill: ${name}`);
}

/** What `ptxas -v` says, as `{ symbol, arch, registers, shared, stack, spills }` of each kernel and architecture. */
function resourceUse(log) {
  const kernels = [];
  let current = null;
  for (const line of log.split('\n')) {
    const compiling = /Compiling entry function '(\S+)' for '(\S+)'/.exec(line);
    if (compiling) current = { symbol: compiling[1], arch: compiling[2], stack: 0, spills: 0 };
    const memory = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (memory && current)
      Object.assign(current, { stack: Number(memory[1]), spills: Number(memory[2]) + Number(memory[3]) });
    const used = /Used (\d+) registers/.exec(line);
    if (!used || !current) continue;
    const shared = /(\d+) bytes smem/.exec(line);
    kernels.push({ ...current, registers: Number(used[1]), shared: Number(shared?.[1] ?? 0) });
    current = null;
  }
  return kernels;
}

/** Asks cuDNN for plans, with a description of each GPU in place of the GPU. */
async function plans() {
  const { nvcc } = needToolkit();
  await configure(nvcc);
  await step('cmake', ['--build', BUILD, '--target', 'plan_check', 'cuda_stub']);
  const folders = [join(BUILD, 'stub'), ...wheelFolders().lib, process.env.LD_LIBRARY_PATH].filter(Boolean);
  const env = { ...process.env, LD_LIBRARY_PATH: folders.join(delimiter) };
  const problems = [];
  await inParallel(['fp32', 'tf32', 'fp16', 'bf16'], async (type) => {
    const code = await run(join(BUILD, 'plan_check'), ['--type', type], { env });
    if (code !== 0)
      problems.push(`plan_check ended with ${code}: its lines above name the graphs of ${type} without a plan`);
  });
  return problems;
}

/** Looks into the machine code of the kernels that take 16 bytes at a time. */
async function accesses() {
  const tool = disassembler();
  if (!tool) {
    say('SKIPPED  accesses: there is no cuobjdump (npm run cuda:libraries -- --disassembler installs one)');
    return [];
  }
  const problems = [];
  const code = new Map();
  await inParallel(['sm_80', 'sm_90'], async (arch) => {
    const args = ['-sass', '-arch', arch, LIBRARY];
    try {
      code.set(arch, (await promisify(execFile)(tool, args, { maxBuffer: 1 << 30 })).stdout);
    } catch (error) {
      problems.push(`${tool} failed: ${error.stderr ?? error.message}`);
    }
  });
  for (const [arch, stdout] of code) {
    const kernels = accessWidths(stdout);
    const names = demangle([...kernels.keys()]);
    const wide = [...kernels.values()]
      .map((widths, i) => ({ name: names[i], widths }))
      .filter(({ name }) => isWide(name));
    if (wide.length === 0) problems.push(`${arch}: no kernel of 16 bytes an access in the library`);
    for (const { name, widths } of wide) {
      const list = [...widths].map(([width, count]) => `${width}: ${count}`).join(', ');
      console.log(`${arch}  ${name}  ${list}`);
      const count = (key) => widths.get(key) ?? 0;
      if (count('load 128') + count('store 128') === 0) problems.push(`${arch}: no 128-bit access: ${name}`);
      // A scalar tail has one access of 16 bits for each of 128; a pack that is taken apart has eight.
      for (const way of ['load', 'store']) {
        if (count(`${way} 16`) > count(`${way} 128`)) problems.push(`${arch}: packs taken apart (${way}): ${name}`);
      }
    }
  }
  return problems;
}

/** The compiler compares the interface; the program asks the library for what it has without a GPU. */
async function nccl() {
  if (!hasNccl()) {
    say('SKIPPED  nccl: there is no nccl.h (npm run cuda:libraries -- --nccl installs NCCL)');
    return [];
  }
  await configure(needToolkit().nvcc);
  await step('cmake', ['--build', BUILD, '--target', 'nccl_check']);
  const code = await run(join(BUILD, 'nccl_check'), []);
  return code === 0 ? [] : [`nccl_check ended with ${code}`];
}

/** Kernels for packs of 16 bytes: template arguments <float, 4>, <__half, 8>, <__nv_bfloat16, 8>. */
function isWide(name) {
  return /<(float, 4|__half, 8|__nv_bfloat16, 8)\b/.test(name);
}

/** Global loads and stores of each kernel, by width. */
function accessWidths(sass) {
  const kernels = new Map();
  let widths = null;
  for (const line of sass.split('\n')) {
    const start = /Function : (\S+)/.exec(line);
    if (start) {
      widths = new Map();
      kernels.set(start[1], widths);
    }
    const access = /\b(LDG|STG)\.E([.A-Z0-9]*)/.exec(line);
    if (!access || !widths) continue;
    const width =
      /\.(128|64)\b/.exec(access[2])?.[1] ??
      (/\.[US]16\b/.test(access[2]) ? '16' : /\.[US]8\b/.test(access[2]) ? '8' : '32');
    const key = `${access[1] === 'LDG' ? 'load' : 'store'} ${width}`;
    widths.set(key, (widths.get(key) ?? 0) + 1);
  }
  return kernels;
}

/** Names as C++ has them, without namespaces and parameters. */
function demangle(symbols) {
  const { stdout } = spawnSync('c++filt', [], { input: symbols.join('\n'), encoding: 'utf8' });
  return stdout.split('\n').map((name) =>
    name
      .replace(/^void /, '')
      .replace(/kn::cuda::/g, '')
      .replace(/\((?!anonymous).*$/, ''),
  );
}
