/** The compiler's sanitizers, as Node wants them. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { SetupError } from './process.mjs';

/**
 * `LD_PRELOAD` for addons with AddressSanitizer and UndefinedBehaviorSanitizer: Node isn't built with them, so their
 * runtimes have to be there first.
 */
export function sanitizerRuntimes() {
  return ['libasan.so', 'libubsan.so'].map(runtime).join(' ');
}

/** The path of a runtime library. */
function runtime(name) {
  const { stdout } = spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' });
  const path = stdout.trim();
  if (!existsSync(path)) throw new SetupError(`g++ has no ${name}: install the sanitizers' runtime libraries.`);
  return path;
}
