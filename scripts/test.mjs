/** `npm test`: sets up what is missing, then runs ava with the arguments that were given. */

import { run, runScript, setUp } from './setup.mjs';

await runScript(async () => {
  await setUp();
  return run(process.execPath, ['node_modules/ava/entrypoints/cli.mjs', ...process.argv.slice(2)]);
});
