/**
 * `npm run cuda:sanitize`: the op tests on the emulated CUDA device under AddressSanitizer and
 * UndefinedBehaviorSanitizer, with the threads of a block in shuffled order; in descending order without sanitizers
 * (`npm test` has them ascending); and a small selection under ThreadSanitizer.
 *
 * Words that follow are test files, in place of the op tests.
 */

import { join } from 'node:path';
import { ava, testFiles } from './ava.mjs';
import { buildEmulation, findToolkit } from './cuda-toolkit.mjs';
import { ROOT, run, runScript, SetupError, say } from './process.mjs';
import { sanitizerRuntimes } from './sanitizers.mjs';
import { setUp } from './setup.mjs';

const KERNELS_OF_OPTIM = ['adam', 'clip', 'loss-scaler', 'sgd', 'weight-average'].map((name) => `optim/${name}`);
/**
 * Beside the tests of every op family. Whole networks (trainer, learned-gain, transition-network) run the same kernels and
 * take a minute each under the sanitizers; memory and determinism are about the CPU device.
 */
const MORE_TESTS = ['branches', 'cuda', 'precision', 'models/kalman-block', ...KERNELS_OF_OPTIM];
/** Of the threads of a block, as KN_EMULATION_ORDER numbers them. They are ascending where it isn't set. */
const [DESCENDING, SHUFFLED] = ['1', '2'];

await runScript(async () => {
  if (!findToolkit()) {
    console.log('SKIPPED  cuda:sanitize: there is no CUDA toolkit, whose headers the emulated device needs.');
    return;
  }
  const files = testFiles(process.argv.slice(2), ['ops/*', ...MORE_TESTS]);
  await setUp();
  const runtimes = sanitizerRuntimes();
  const library = await timed('built with AddressSanitizer', () => buildEmulation('address'));
  const problems = [];
  const check = async (what, work) => {
    const code = await timed(what, work);
    console.log(`${code === 0 ? 'pass' : 'FAIL'}  ${what}`);
    if (code !== 0) problems.push(`${what}: exit status ${code}`);
  };
  const onEmulation = (order, env) =>
    ava(['--concurrency=2', ...files], { KN_EMULATION_ORDER: order, KN_TEST_DEVICES: 'cuda-emulated', ...env });
  await check('addresses, undefined behaviour; threads shuffled', () =>
    onEmulation(SHUFFLED, {
      KN_EMULATION_LIBRARY: library,
      LD_PRELOAD: runtimes,
      // Leaks of Node itself don't count. A fiber's frames must lie on its own stack.
      ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    }),
  );
  await timed('built without sanitizers', () => buildEmulation());
  await check('threads descending', () => onEmulation(DESCENDING, {}));
  await timed('built with ThreadSanitizer', () => buildEmulation('thread'));
  const checker = join(ROOT, 'build', 'emulation-thread', 'device_check');
  await check('data races, a selection', () => run(checker, ['threads'], { env: { TSAN_OPTIONS: 'halt_on_error=1' } }));
  if (problems.length > 0) throw new SetupError(problems.join('\n'));
});

/** Says how long it took. */
async function timed(what, work) {
  const began = Date.now();
  const result = await work();
  say(`${what}: ${Math.round((Date.now() - began) / 1000)} s`);
  return result;
}
