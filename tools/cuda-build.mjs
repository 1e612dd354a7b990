/**
 * `npm run cuda:build [-- --if-possible] [-D...]`: builds the CUDA device, build/Release/kalman_norm_cuda.so.
 *
 * Definitions (-DNAME=VALUE) go to CMake; native/cuda/CMakeLists.txt explains its options. With `--if-possible` a
 * machine without a CUDA toolkit, or without cuDNN, is no error.
 */

import { findToolkit, hasLibraries, needToolkit } from './cuda-toolkit.mjs';
import { cmakeBuild } from './native-build.mjs';
import { runScript, say } from './process.mjs';

await runScript(async () => {
  const args = process.argv.slice(2);
  if (args.includes('--if-possible')) {
    const missing = !findToolkit()
      ? 'there is no CUDA toolkit here'
      : !hasLibraries() && 'cuDNN or cuBLAS is missing (npm run cuda:libraries)';
    if (missing) return say(`The CUDA device is not built: ${missing}.`);
  }
  const { nvcc } = needToolkit();
  const given = args
    .filter((arg) => arg.startsWith('-D'))
    .map((arg) => {
      const [name, ...value] = arg.slice(2).split('=');
      return [name, value.join('=')];
    });
  await cmakeBuild('native/cuda', 'build/cuda', { CMAKE_CUDA_COMPILER: nvcc, ...Object.fromEntries(given) });
});
