/**
 * `npm run cuda:libraries [-- --disassembler]`: cuDNN and cuBLAS as Python wheels, in the package's cache, where nothing
 * else offers them; on demand a disassembler, for `npm run cuda:check`.
 */

import { ensureDisassembler, ensureLibraries } from './cuda-toolkit.mjs';
import { runScript } from './process.mjs';

await runScript(async () => {
  await ensureLibraries();
  if (process.argv.includes('--disassembler')) await ensureDisassembler();
});
