/** The test runner, as the tools call it. */

import { run } from './process.mjs';

/** Runs ava with these arguments; the exit status. */
export function ava(args, env = {}) {
  return run(process.execPath, ['tools/ava-runner.mjs', ...args], { env });
}

/** The test files that a command line names, or else those of these names. */
export function testFiles(named, names) {
  return named.length > 0 ? named : names.map((name) => `test/${name}.test.ts`);
}
