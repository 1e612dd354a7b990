import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KalmanNormError } from '../errors.js';
import type { Addon } from './contract.js';

const searched = ['../../build/Release/', '../../../build/Release/'];

function load(): { addon: Addon; folder: string } {
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  for (const folder of searched) {
    const path = fileURLToPath(new URL(`${folder}kalman_norm.node`, import.meta.url));
    try {
      require(path.replace(/\.node$/, '_preload.node'));
      const addon = require(path) as Addon;
      addon.setErrorClass(KalmanNormError);
      const reason = addon.cpuUnsupported();
      if (reason) throw new Error(reason);
      return { addon, folder: dirname(path) };
    } catch (error) {
      failures.push(`  ${path}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  throw new KalmanNormError(
    'DEVICE_UNAVAILABLE',
    `The native addon can't be loaded on ${process.platform}-${process.arch}, Node ${process.version}:\n` +
      `${failures.join('\n')}\n` +
      'Build it with "npx kalman-norm build", which also says what is missing for that; in a checkout with ' +
      '"npm run build:native".',
  );
}

const loaded = load();

/** The native addon; loaded with the module. */
export const native: Addon = loaded.addon;
/** Where the addon lies, and with it the libraries of further devices. */
export const addonFolder: string = loaded.folder;
