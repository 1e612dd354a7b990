/**
 * `npm test`: sets up what is missing, then runs ava with the arguments that were given. Where a CUDA toolkit is found,
 * the op tests run on the emulated CUDA device too.
 */

import { ava } from './ava.mjs';
import { buildEmulation, findToolkit } from './cuda-toolkit.mjs';
import { runScript, say } from './process.mjs';
import { setUp } from './setup.mjs';

await runScript(async () => {
  await setUp();
  if (findToolkit()) {
    await buildEmulation();
  } else {
    say('SKIPPED  cuda-emulated: there is no CUDA toolkit, so the op tests run on the CPU device alone.');
  }
  return ava(process.argv.slice(2));
});
