#!/usr/bin/env node
/** `npx kalman-norm build`: builds the native addon of an installed package; finds or installs what that needs. */

import { ensureBuild, ensureNode, ensureSystemPackages, runScript, SetupError, say } from './setup.mjs';

await runScript(async () => {
  const [command, ...rest] = process.argv.slice(2);
  if (command !== 'build' || rest.length > 0) throw new SetupError('Usage: npx kalman-norm build', 2);
  ensureNode();
  await ensureSystemPackages();
  await ensureBuild();
  say('The native addon is built.');
});
