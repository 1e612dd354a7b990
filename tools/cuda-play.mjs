/**
 * `npm run cuda:play`: what talks to cuDNN and cuBLASLt (native/cuda/nvidia), on the emulated device, above libraries that
 * are played: they check every attribute and compute with plain loops. Needs the real ones' headers (cuda:libraries).
 *
 * Words that follow are test files, in place of those that come to these libraries.
 */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buildEmulation, ensureLibraries, findToolkit } from './cuda-toolkit.mjs';
import { run, runScript, SetupError } from './process.mjs';
import { setUp } from './setup.mjs';

const TESTS = ['ops/conv2d', 'ops/linear', 'ops/batch-norm', 'precision', 'cuda-libraries', 'models/kalman-block'];

await runScript(async () => {
  if (!findToolkit()) {
    console.log('SKIPPED  cuda:play: there is no CUDA toolkit, whose headers the emulated device needs.');
    return;
  }
  const named = process.argv.slice(2);
  const files = named.length > 0 ? named : TESTS.map((name) => `test/${name}.test.ts`);
  await setUp();
  await ensureLibraries();
  const library = join(dirname(await buildEmulation()), 'kalman_norm_cuda_played.so');
  if (!existsSync(library))
    throw new SetupError(`${library} was not built: are the headers of cuDNN and cuBLAS there?`);
  return run(process.execPath, ['node_modules/ava/entrypoints/cli.mjs', ...files], {
    env: { KN_EMULATION_LIBRARY: library, KN_TEST_DEVICES: 'cuda-emulated' },
  });
});
