import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { hasEmulation } from '../lib/cuda.js';
import { cudaProblem, devices, openDevice } from '../lib/index.js';
import { program } from './support/program.js';

/** What the CUDA device does where something is missing or fails. */
const emulated = hasEmulation() ? test : test.skip;
if (!hasEmulation())
  console.error('cuda.test.ts: the emulated device is not built (npm run cuda:emulate): tests skipped');

/** A program's message when it opens a device with this library. */
async function refusal(libraryPath: string, name = 'cuda:0', env: Record<string, string> = {}): Promise<string> {
  const code = `
    try { kn.openDevice('${name}'); console.log('opened'); }
    catch (error) { console.log(error.code + ': ' + error.message); }`;
  const { output } = await program(code, { KN_CUDA_LIBRARY: libraryPath, ...env });
  return output;
}

/** Shared libraries made for a test in a folder of its own: `name` needs those in `needs`. */
async function inLibraries(
  libraries: readonly { name: string; source?: string; needs?: readonly string[] }[],
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-'));
  try {
    for (const { name, source = '', needs = [] } of libraries) {
      await writeFile(join(folder, 'source.cpp'), source);
      const args = [
        '-shared',
        '-fPIC',
        '-o',
        name,
        `-Wl,-soname,${name}`,
        'source.cpp',
        '-Wl,--no-as-needed',
        ...needs,
      ];
      const { status, stderr } = spawnSync('g++', args, { cwd: folder, encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
    }
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('devices: the CPU is always there; without a GPU there is a reason', (t) => {
  t.is(devices()[0]?.name, 'cpu');
  const problem = cudaProblem();
  t.is(devices().length > 1, problem === null);
  if (problem !== null) t.true(problem.length > 20, problem);
});

test('precision: names are checked, the CPU knows fp32 only', (t) => {
  t.throws(() => openDevice('cpu', { precision: 'bf16' }), {
    code: 'INVALID_ARGUMENT',
    message: /fp32 only, got bf16/,
  });
  t.throws(() => openDevice('cpu', { precision: 'fp8' as never }), {
    code: 'INVALID_ARGUMENT',
    message: /precision must be fp32, tf32, fp16 or bf16, got fp8/,
  });
});

test('a library that is not built: where it should be, and the command that builds it', async (t) => {
  const message = await refusal('/nonexistent/kalman_norm_cuda.so');
  t.regex(message, /^DEVICE_UNAVAILABLE: openDevice: cuda:0 was asked for, but the CUDA device isn't built/);
  t.regex(message, /\/nonexistent\/kalman_norm_cuda\.so doesn't exist.*npm run cuda:build.*--device cpu/);
});

test('a missing cuDNN: what was looked for, where, what is there instead, the remedy', async (t) => {
  const libraries = [{ name: 'libcudnn.so.9' }, { name: 'device.so', needs: ['./libcudnn.so.9'] }];
  await inLibraries(libraries, async (folder) => {
    await rm(join(folder, 'libcudnn.so.9'));
    await writeFile(join(folder, 'libcudnn.so.8'), '');
    // Without HOME and the system's folders a cuDNN of this machine might be found.
    const message = await refusal(join(folder, 'device.so'), 'cuda:0', { KN_CUDA_PATH: folder, HOME: folder });
    if (/opened|other sources/.test(message)) return t.log('this machine has cuDNN 9 in a system folder');
    t.regex(message, /DEVICE_UNAVAILABLE: .*libcudnn\.so\.9, which device\.so needs, is missing/);
    t.true(message.includes(`Of other versions there are: ${folder}/libcudnn.so.8`), message);
    t.regex(message, /Install cuDNN 9.*KN_CUDA_PATH/);
    t.true(message.includes('Looked in'), message);
  });
});

test('libraries beside the loader’s folders are found, with those that they need', async (t) => {
  const libraries = [
    { name: 'libinner.so.1' },
    { name: 'libouter.so.1', needs: ['./libinner.so.1'] },
    { name: 'device.so', needs: ['./libouter.so.1'] },
  ];
  await inLibraries(libraries, async (folder) => {
    // Everything loads; what is wrong is the library itself.
    t.regex(await refusal(join(folder, 'device.so'), 'cuda:0', { KN_CUDA_PATH: folder }), /built from other sources/);
  });
});

test('a file that is no library', async (t) => {
  await inLibraries([], async (folder) => {
    await writeFile(join(folder, 'device.so'), 'text');
    t.regex(await refusal(join(folder, 'device.so')), /DEVICE_UNAVAILABLE: .*can't be loaded: .*device\.so/);
  });
});

emulated('a device index out of range', (t) => {
  process.env.KN_CUDA_LIBRARY =
    process.env.KN_EMULATION_LIBRARY ??
    new URL('../build/emulation/kalman_norm_cuda_emulated.so', import.meta.url).pathname;
  try {
    t.throws(() => openDevice('cuda:7'), {
      code: 'DEVICE_UNAVAILABLE',
      message: /there are 2 CUDA devices, numbered from 0/,
    });
  } finally {
    delete process.env.KN_CUDA_LIBRARY;
  }
});

emulated('out of device memory: a typed error, nothing is lost, the next step works', async (t) => {
  using device = openDevice('cuda-emulated', { memoryLimit: 1 << 20 });
  const pooled = device.ones([100_000]);
  pooled.dispose();
  // Fits only after the pool has given back what it holds.
  const large = device.ones([200_000]);
  t.throws(() => device.ones([100_000]), {
    code: 'OUT_OF_MEMORY',
    message: /no room for 400000 bytes.*800000|no room/,
  });
  t.deepEqual((await large.data())[199_999], 1);
  large.dispose();
  t.is(device.memoryStats().inUse, 0);
  const next = device.ones([100_000]);
  t.deepEqual((await next.data())[0], 1);
  next.dispose();
});

emulated('a failed launch poisons the device, with its reason', async (t) => {
  const code = `
    const device = kn.openDevice('cuda-emulated');
    const x = device.ones([8]);
    const y = kn.relu(x);
    try { await y.data(); console.log('data'); } catch (error) { console.log(error.code + ': ' + error.message); }
    try { kn.relu(x); console.log('launched'); } catch (error) { console.log(error.code + ': ' + error.message); }`;
  const { output } = await program(code, { KN_EMULATION_FAIL_LAUNCH: '2' });
  t.regex(output, /^DEVICE_FAILED: .*launch failure.*\nDEVICE_FAILED: cuda-emulated: .*launch failure/s);
});

emulated('KN_DEBUG_SYNC: the failed launch is named where it was made', async (t) => {
  const code = `
    const device = kn.openDevice('cuda-emulated');
    const x = device.ones([8]);
    try { kn.relu(x); console.log('launched'); } catch (error) { console.log(error.code + ': ' + error.message); }`;
  const { output } = await program(code, { KN_EMULATION_FAIL_LAUNCH: '2', KN_DEBUG_SYNC: '1' });
  t.regex(output, /^DEVICE_FAILED: cuda-emulated: relu: .*launch failure/);
});

emulated('exit with work pending', async (t) => {
  const code = `
    const device = kn.openDevice('cuda-emulated');
    const x = device.ones([1 << 16]);
    for (let i = 0; i < 20; i++) kn.relu(x);
    x.data();
    process.exit(3);`;
  const { code: exit, signal, output } = await program(code);
  t.deepEqual({ exit, signal }, { exit: 3, signal: null }, output);
});
