/** `npm run cuda:emulate`: builds the CUDA device for the CPU (tests only), `cuda-emulated`. */

import { buildEmulation } from './cuda-toolkit.mjs';
import { runScript, say } from './process.mjs';

await runScript(async () => {
  say(`Built ${await buildEmulation(process.argv[2] ?? '')}`);
});
