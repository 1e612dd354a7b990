import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { hasEmulation } from '../lib/cuda.js';
import { openDevice, relu } from '../lib/index.js';
import { program } from './support/program.js';

/** The emulated device refuses what CUDA refuses, and the device above it stands what a driver may answer. */
const checker = fileURLToPath(new URL('../build/emulation/device_check', import.meta.url));
const built = hasEmulation() && existsSync(checker);
const emulated = built ? test : test.skip;
if (!built)
  console.error('cuda-emulation.test.ts: the emulated device is not built (npm run cuda:emulate): tests skipped');

/** A part of `device_check`; its output. */
function check(t: ExecutionContext, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(checker, args, { encoding: 'utf8' });
  t.is(status, 0, stderr);
  return stdout;
}

emulated('what CUDA forbids is refused: calls while a stream is captured, pointers, handles of other devices', (t) => {
  check(t, 'rules');
});

// All of them: build/emulation/device_check failures
emulated('each 23rd call of the runtime fails: nothing leaks, the errors are typed, the device goes on', (t) => {
  const table = check(t, 'failures', '23');
  const sums = [...table.matchAll(/^all +(\d+)(?: +\d+){4} +(\d+) +(\d+)$/gm)].map((match) =>
    match.slice(1).map(Number),
  );
  t.is(sums.length, 2, table);
  for (const [calls = 0, leaks, lost] of sums) {
    t.true(calls > 20, table);
    t.deepEqual([leaks, lost], [0, 0], table);
  }
});

const life = `
  const device = kn.openDevice('cuda-emulated');
  const x = device.ones([8]);
  const step = () => kn.scope(() => { x.copyFrom(kn.scale(x, 2)); });
  const attempt = async () => {
    step();
    const { program } = device.record(step);
    program.run(2);
    const values = await x.data();
    program.dispose();
    return values[0];
  };
  try { console.log(await attempt()); } catch (error) { console.log(error.constructor.name, error.code, error.message); }
  try { x.fill(1); console.log(await attempt()); } catch (error) { console.log(error.code); }`;

for (const { call, code, message } of [
  { call: 'kernel launch:2', code: 'DEVICE_FAILED', message: 'too many resources requested for launch' },
  { call: 'cudaStreamBeginCapture:1', code: 'OUT_OF_MEMORY', message: 'cudaStreamBeginCapture' },
  { call: 'cudaStreamEndCapture:1', code: 'DEVICE_FAILED', message: 'cudaStreamEndCapture' },
  { call: 'cudaGraphInstantiate:1', code: 'OUT_OF_MEMORY', message: 'cudaGraphInstantiate' },
  { call: 'cudaGraphLaunch:2', code: 'DEVICE_FAILED', message: 'replay: ' },
]) {
  emulated(`${call} fails: ${code}, and the next step works`, async (t) => {
    const { output } = await program(life, { KN_EMULATION_FAIL_CALL: call });
    const [first = '', second] = output.trim().split('\n');
    t.true(first.startsWith(`KalmanNormError ${code} `), output);
    t.true(first.includes(message), output);
    t.is(second, '8', output);
  });
}

for (const call of ['cudaEventRecord:3', 'cudaMalloc:2']) {
  emulated(`${call} fails, and there is another way: a longer wait, a trimmed pool`, async (t) => {
    const { output } = await program(life, { KN_EMULATION_FAIL_CALL: call });
    t.is(output.trim(), '8\n8');
  });
}

emulated(
  'a step that is recorded before it has run once: allowed, as CUDA allows it, unless the rules are strict',
  async (t) => {
    const code = `
    const device = kn.openDevice('cuda-emulated');
    const x = device.ones([8]);
    try {
      const { program } = device.record(() => kn.scope(() => { x.copyFrom(kn.scale(x, 2)); }));
      program.run(3);
      console.log((await x.data())[0]);
    } catch (error) { console.log(error.code, error.message); }`;
    const { output } = await program(code, { KN_EMULATION_STRICT: '0' });
    t.is(output.trim(), '8');
    const strict = await program(code, {});
    t.regex(strict.output, /OUT_OF_MEMORY|not permitted when stream is capturing/);
  },
);

emulated('two devices at once', async (t) => {
  using first = openDevice('cuda-emulated');
  using second = openDevice('cuda-emulated:1');
  t.deepEqual([first.name, second.name], ['cuda-emulated', 'cuda-emulated:1']);
  const x = first.full([4], -1);
  const y = second.full([4], 2);
  t.throws(() => x.copyFrom(y), { code: 'DEVICE_MISMATCH' });
  t.deepEqual([(await relu(x).data())[0], (await relu(y).data())[0]], [0, 2]);
});

emulated('a recording takes over what a step has used, and gives it back; memoryLimit is for both', async (t) => {
  using device = openDevice('cuda-emulated', { memoryLimit: 5 << 20 });
  const x = device.ones([1 << 18]);
  const step = () => relu(x).dispose();
  step();
  const { reserved, systemAllocations } = device.memoryStats();
  t.is(reserved, 2 << 20);
  const { program: recording } = device.record(step);
  t.is(recording.memoryStats().reserved, 1 << 20);
  t.is(device.memoryStats().reserved, 1 << 20);
  t.is(device.memoryStats().systemAllocations, systemAllocations);
  // Five blocks fit, one of them the recording's.
  const more = [1, 2, 3].map((value) => device.full([1 << 18], value));
  t.throws(() => device.zeros([1 << 18]), { code: 'OUT_OF_MEMORY' });
  t.throws(() => device.record(() => device.zeros([1 << 18])), { code: 'OUT_OF_MEMORY', message: /trim it before/ });
  recording.dispose();
  await device.synchronize();
  more.push(device.zeros([1 << 18]));
  for (const tensor of [...more, x]) tensor.dispose();
  device.trimMemory();
  t.is(device.memoryStats().reserved, 0);
});
