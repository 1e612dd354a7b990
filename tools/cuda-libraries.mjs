/**
 * `npm run cuda:libraries [-- --nccl --disassembler]`: cuDNN and cuBLAS as Python wheels, in the package's cache, where
 * nothing else offers them; on demand NCCL, and a disassembler for `npm run cuda:check`.
 */

import { ensureDisassembler, ensureLibraries, ensureNccl } from './cuda-toolkit.mjs';
import { runScript } from './process.mjs';

await runScript(async () => {
  await ensureLibraries();
  if (process.argv.includes('--nccl')) await ensureNccl();
  if (process.argv.includes('--disassembler')) await ensureDisassembler();
});
