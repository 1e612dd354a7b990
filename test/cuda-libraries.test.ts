import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { program } from './support/program.js';

/** What the device makes of what cuDNN answers; cuDNN is played (native/emulation/nvidia). */
const library = fileURLToPath(new URL('../build/emulation/kalman_norm_cuda_played.so', import.meta.url));
const played = existsSync(library) ? test : test.skip;
if (!existsSync(library))
  console.error('cuda-libraries.test.ts: there are no headers of cuDNN and cuBLAS (npm run cuda:play): tests skipped');

/** A convolution by a device with these options; prints a sum of its values, twice, or the error. */
function convolution(options: object, env: Record<string, string> = {}): Promise<string> {
  const code = `
    const device = kn.openDevice('cuda-emulated', ${JSON.stringify(options)});
    const x = device.ones([1, 8, 4, 4]);
    const w = device.full([8, 8, 3, 3], 0.5, { format: 'filter' });
    try {
      for (let i = 0; i < 2; i++) {
        const y = kn.conv2d(x, w, { padding: 1 });
        console.log((await y.data()).reduce((a, b) => a + b));
        y.dispose();
      }
    } catch (error) { console.log(error.code, error.message); }`;
  return program(code, { KN_EMULATION_LIBRARY: library, ...env }).then(({ output }) => output.trim());
}

/** 8 outputs of 8·(4·9 + 8·6 + 4·4)·½: 4 pixels inside, 8 at the edges, 4 at the corners. */
const sum = 8 * 8 * (4 * 9 + 8 * 6 + 4 * 4) * 0.5;

for (const options of [
  {},
  { precision: 'tf32' },
  { precision: 'bf16' },
  { benchmark: true },
  { deterministic: false },
]) {
  played(`a convolution, ${JSON.stringify(options)}`, async (t) => {
    t.is(await convolution(options), `${sum}\n${sum}`);
  });
}

played('an engine that fails is followed by the next', async (t) => {
  t.is(await convolution({}, { KN_EMULATION_FAIL_ENGINE: '5' }), `${sum}\n${sum}`);
});

played('an engine without room for its workspace is followed by the next', async (t) => {
  t.is(await convolution({ memoryLimit: 5500 }), `${sum}\n${sum}`);
});

played('where the last engine fails, too, that is a typed error, and the device goes on', async (t) => {
  const options = { memoryLimit: 5500 };
  const output = await convolution(options, { KN_EMULATION_FAIL_ENGINE: '6' });
  t.regex(output, /^DEVICE_FAILED cuda-emulated: conv2d: cudnnBackendExecute: CUDNN_STATUS_EXECUTION_FAILED/);
});

played('the device says which libraries it has', async (t) => {
  const code = "console.log(kn.openDevice('cuda-emulated').description)";
  const { output } = await program(code, { KN_EMULATION_LIBRARY: library });
  t.regex(output, /cuDNN 9\.\d+\.\d+, cuBLAS \d+\./);
});
