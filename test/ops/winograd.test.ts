import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { openDevice } from '../../lib/index.js';
import { SEED } from '../support/random.js';

const program = fileURLToPath(new URL('../support/convolution-bits.ts', import.meta.url));

/** Runs the program on a device that may use these of oneDNN's instruction sets. */
async function bits(instructions: string): Promise<{ description: string; hash: string }> {
  const env = { ...process.env, KN_TEST_SEED: `${SEED}`, ONEDNN_MAX_CPU_ISA: instructions };
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', program], { env });
  return JSON.parse(stdout);
}

const { description } = openDevice('cpu');

if (description.includes('AVX-512')) {
  test('with AVX-512 Winograd convolutions are the same bit by bit', async (t) => {
    const [wide, narrow] = await Promise.all([bits('ALL'), bits('AVX2')]);
    t.regex(wide.description, /convolutions AVX-512/);
    t.regex(narrow.description, /convolutions AVX2/);
    t.is(wide.hash, narrow.hash);
  });
} else {
  test.skip(`SKIPPED, no AVX-512 (${description}): Winograd convolutions with and without it`, () => {});
}
