/**
 * `npm run check:asan`: the native addon under AddressSanitizer and UndefinedBehaviorSanitizer, on the tests of what ends
 * when others don't expect it: worker threads, processes, devices, disposals. Words that follow are test files, in place
 * of those.
 *
 * Leaks aren't looked for: LeakSanitizer doesn't see what V8's heap refers to, and calls all of it leaked.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ava, testFiles } from './ava.mjs';
import { cmakeBuild } from './native-build.mjs';
import { ROOT, runScript, SetupError, say } from './process.mjs';
import { sanitizerRuntimes } from './sanitizers.mjs';
import { setUp } from './setup.mjs';

const BUILD = join('build', 'address');
const TESTS = [
  'lifetime',
  'addon',
  'cancel',
  'dispose',
  'scope',
  'garbage',
  'serve/inference',
  'serve/fold',
  'io/decode-jpeg',
];

await runScript(async () => {
  const named = process.argv.slice(2);
  await setUp();
  await cmakeBuild('.', BUILD, { CMAKE_CXX_FLAGS: '-fsanitize=address,undefined -fno-omit-frame-pointer -g1' });
  const logs = mkdtempSync(join(tmpdir(), 'kalman-norm-asan-'));
  try {
    const code = await ava(['--concurrency=1', '--serial', ...testFiles(named, TESTS)], {
      KN_SANITIZED_ADDON: join(ROOT, BUILD, 'Release'),
      KN_TEST_DEVICES: 'cpu',
      NODE_OPTIONS: `--require ${join(ROOT, 'tools', 'sanitized-addon.cjs')}`,
      LD_PRELOAD: sanitizerRuntimes(),
      ASAN_OPTIONS: `detect_leaks=0:abort_on_error=1:log_path=${join(logs, 'log')}`,
      UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:log_path=${join(logs, 'log')}`,
    });
    // Those of processes that a test ends itself would be lost in its output.
    const findings = readdirSync(logs).map((name) => readFileSync(join(logs, name), 'utf8'));
    for (const finding of findings) say(finding);
    if (findings.length > 0) throw new SetupError(`${findings.length} processes have findings of the sanitizers.`);
    return code;
  } finally {
    rmSync(logs, { recursive: true });
  }
});
