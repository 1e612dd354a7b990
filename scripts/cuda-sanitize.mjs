/**
 * `npm run cuda:sanitize`: the op tests on the emulated CUDA device under AddressSanitizer and
 * UndefinedBehaviorSanitizer, with the threads of a block in three orders; and a small selection under ThreadSanitizer.
 *
 * Words that follow are test files, in place of the op tests.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildEmulation, step } from './cuda-toolkit.mjs';
import { ROOT, run, runScript, SetupError } from './setup.mjs';

/** Every op family; of the slow files others cover the kernels. */
const OP_TESTS = [
  'batch-norm',
  'conv2d',
  'elementwise',
  'gather',
  'group-norm',
  'kalman',
  'kalman-sample',
  'linear',
  'loss',
  'loss-scaler',
  'memory',
  'moments',
  'pool',
  'precision',
  'sgd',
  'transition',
];
const ORDERS = ['ascending', 'descending', 'shuffled'];

await runScript(async () => {
  const named = process.argv.slice(2);
  const files = named.length > 0 ? named : OP_TESTS.map((name) => `test/${name}.test.ts`);
  const problems = [];

  const library = await buildEmulation('address');
  // Node isn't built with the sanitizers, so their runtime has to be there first. Leaks of Node itself don't count.
  const runtimes = [runtime('libasan.so'), runtime('libubsan.so')].join(' ');
  for (const [order, name] of ORDERS.entries()) {
    const began = Date.now();
    const env = {
      KN_EMULATION_LIBRARY: library,
      KN_EMULATION_ORDER: String(order),
      KN_TEST_DEVICES: 'cuda-emulated',
      LD_PRELOAD: runtimes,
      ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    };
    const code = await run(process.execPath, ['node_modules/ava/entrypoints/cli.mjs', '--concurrency=2', ...files], {
      env,
    });
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(`${code === 0 ? 'pass' : 'FAIL'}  address, undefined behaviour; threads ${name} (${seconds} s)`);
    if (code !== 0) problems.push(`ava ended with ${code}, threads ${name}`);
  }

  const began = Date.now();
  const build = join(ROOT, 'build', 'emulation-thread');
  await buildEmulation('thread');
  await step(join(build, 'thread_check'), [], { env: { TSAN_OPTIONS: 'halt_on_error=1' } });
  console.log(`pass  data races, a selection (${Math.round((Date.now() - began) / 1000)} s)`);
  if (problems.length > 0) throw new SetupError(problems.join('\n'));
});

/** The compiler's runtime library of a sanitizer. */
function runtime(name) {
  const { stdout } = spawnSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' });
  const path = stdout.trim();
  if (!existsSync(path)) throw new SetupError(`g++ has no ${name}: install the sanitizers' runtime libraries.`);
  return path;
}
