/**
 * `npm run check:asan`: the native addon under AddressSanitizer and UndefinedBehaviorSanitizer, on the tests of what ends
 * when others don't expect it: worker threads, processes, devices, disposals. Words that follow are test files, in place
 * of those.
 *
 * Memory that the addon's own code still holds at a process's end is a failure, too.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cmakeBuild } from './native-build.mjs';
import { ROOT, run, runScript, SetupError, say } from './process.mjs';
import { sanitizerRuntimes } from './sanitizers.mjs';
import { setUp } from './setup.mjs';

const BUILD = join('build', 'address');
const TESTS = ['lifetime', 'addon', 'cancel', 'dispose', 'scope', 'garbage', 'serve/inference', 'serve/fold'];

await runScript(async () => {
  const named = process.argv.slice(2);
  await setUp();
  await cmakeBuild('.', BUILD, { CMAKE_CXX_FLAGS: '-fsanitize=address,undefined -fno-omit-frame-pointer -g1' });
  const logs = mkdtempSync(join(tmpdir(), 'kalman-norm-asan-'));
  try {
    const files = named.length > 0 ? named : TESTS.map((name) => `test/${name}.test.ts`);
    const code = await run(process.execPath, ['node_modules/ava/entrypoints/cli.mjs', '--concurrency=1', ...files], {
      env: {
        KN_SANITIZED_ADDON: join(ROOT, BUILD, 'Release'),
        KN_TEST_DEVICES: 'cpu',
        NODE_OPTIONS: `--require ${join(ROOT, 'tools', 'sanitized-addon.cjs')}`,
        LD_PRELOAD: sanitizerRuntimes(),
        // Without a fast unwinder the leaks' stacks end in oneDNN and libgomp, which keep no frame pointers.
        ASAN_OPTIONS: `detect_leaks=1:detect_stack_use_after_return=0:abort_on_error=1:log_path=${join(logs, 'log')}`,
        LSAN_OPTIONS: 'exitcode=0',
        UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
      },
    });
    const findings = readdirSync(logs).flatMap((name) => findingsIn(readFileSync(join(logs, name), 'utf8')));
    for (const finding of findings.slice(0, 10)) say(finding);
    if (findings.length > 0) throw new SetupError(`${findings.length} findings of the sanitizers.`);
    return code;
  } finally {
    rmSync(logs, { recursive: true });
  }
});

/** What a process's log says of the addon: errors, and leaks of memory that it took. Node has leaks of its own. */
function findingsIn(log) {
  const blocks = log.split(/\n{2,}/);
  const isLeak = (block) => /(Direct|Indirect) leak of/.test(block);
  return [
    ...(/ERROR: AddressSanitizer|runtime error:/.test(log) ? [log] : []),
    ...blocks.filter((block) => isLeak(block) && block.includes('kalman_norm')),
  ];
}
