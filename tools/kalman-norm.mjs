#!/usr/bin/env node
/**
 * `npx kalman-norm build`: builds the native addon of an installed package; finds or installs what that needs. The commands
 * for the CUDA device have the names that they have in a checkout.
 */

import { buildAddon } from './native-build.mjs';
import { runScript, say } from './process.mjs';
import { ensureSystemPackages } from './system-packages.mjs';

const USAGE = `Usage: npx kalman-norm build            the native addon, where no prebuilt one fits
       npx kalman-norm cuda:libraries   cuDNN and cuBLAS, where the system has none (about 1 GB)
       npx kalman-norm cuda:build       the CUDA device
       npx kalman-norm launch           a program in several processes that train together`;

const commands = {
  build: () =>
    runScript(async () => {
      await ensureSystemPackages();
      // Always: what it was built without, Gloo or libjpeg-turbo, may have come since.
      await buildAddon();
      say('The native addon is built.');
    }),
  // Programs of their own, which read their flags themselves.
  'cuda:libraries': () => import('./cuda-libraries.mjs'),
  'cuda:build': () => import('./cuda-build.mjs'),
  launch: async () => (await import('./launch.mjs')).main(flags),
};

const [command = '', ...flags] = process.argv.slice(2);
if (!Object.hasOwn(commands, command) || (command === 'build' && flags.length > 0)) {
  say(USAGE);
  process.exitCode = 2;
} else {
  await commands[command]();
}
