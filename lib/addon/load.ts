import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KalmanNormError } from '../errors.js';
import type { Addon } from './contract.js';

const searched = ['../../build/Release/kalman_norm.node', '../../../build/Release/kalman_norm.node'];

function load(): { addon: Addon; folder: string } {
  // libgomp reads this once, when it is loaded; spinning threads slow everything else on shared cores 3 to 10 times.
  process.env.OMP_WAIT_POLICY ??= 'passive';
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  for (const file of searched) {
    const path = fileURLToPath(new URL(file, import.meta.url));
    try {
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
      'Build it with "npm run build:native", in a project that has the package installed with "npm run build:native ' +
      '--prefix node_modules/kalman-norm"; on Debian it needs "apt-get install g++ make cmake libdnnl-dev".',
  );
}

const loaded = load();

/** The native addon; loaded with the module. */
export const native: Addon = loaded.addon;
/** Where the addon lies, and with it the libraries of further devices. */
export const addonFolder: string = loaded.folder;
