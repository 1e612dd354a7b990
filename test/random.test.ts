import test from 'ava';
import { HostRandom } from '../lib/index.js';
import { philox } from '../lib/random.js';
import { philoxWords } from './support/philox.js';
import { SEED, TestRandom } from './support/random.js';

type Four = [number, number, number, number];

test('philox: known answers of Random123', (t) => {
  const answers: { counter: Four; key: [number, number]; words: Four }[] = [
    { counter: [0, 0, 0, 0], key: [0, 0], words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
    {
      counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      key: [0xffffffff, 0xffffffff],
      words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ];
  for (const { counter, key, words } of answers) {
    t.deepEqual(philox(counter, key), words);
    t.deepEqual(philoxWords(counter, key), words);
  }
});

test('philox: agrees with the definition in big integers', (t) => {
  const random = new TestRandom('philox');
  for (let i = 0; i < 200; i++) {
    const counter: Four = [random.word(), random.word(), random.word(), random.word()];
    const key: [number, number] = [random.word(), random.word()];
    t.deepEqual(philox(counter, key), philoxWords(counter, key), `KN_TEST_SEED=${SEED}`);
  }
});

test('HostRandom: a seed and a stream give one sequence', (t) => {
  const draw = (seed: number, stream?: number) => {
    const random = new HostRandom(seed, stream);
    return Array.from({ length: 9 }, () => random.word());
  };
  t.deepEqual(draw(7), draw(7));
  t.notDeepEqual(draw(7), draw(8));
  t.notDeepEqual(draw(7, 0), draw(7, 1));
  // The upper half of the seed counts too.
  t.notDeepEqual(draw(7), draw(7 + 2 ** 32));
});

test('HostRandom: seeds outside the range are errors', (t) => {
  for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) {
    t.throws(() => new HostRandom(seed), { code: 'INVALID_ARGUMENT', message: new RegExp(`seed .* got ${seed}`) });
  }
});

test('HostRandom: uniform and normal values have their moments', (t) => {
  const random = new HostRandom(11);
  const count = 100_000;
  // Six standard errors; the seed is fixed.
  const check = (draw: () => number, mean: number, variance: number, fourth: number) => {
    const values = Float64Array.from({ length: count }, draw);
    const moment = (power: number) => values.reduce((sum, v) => sum + (v - mean) ** power, 0) / count;
    t.true(Math.abs(moment(1)) < 6 * Math.sqrt(variance / count), 'mean');
    t.true(Math.abs(moment(2) - variance) < 6 * Math.sqrt((fourth - variance ** 2) / count), 'variance');
    return values;
  };
  const uniforms = check(() => random.uniform(), 0.5, 1 / 12, 1 / 80);
  t.true(uniforms.every((u) => u > 0 && u < 1));
  check(() => random.normal(), 0, 1, 3);
});

test('HostRandom: permutations are permutations, and uniform', (t) => {
  const random = new HostRandom(3);
  t.deepEqual(
    [...random.permutation(100)].sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  );
  t.deepEqual([...random.permutation(1)], [0]);
  t.is(random.permutation(0).length, 0);
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const key = random.permutation(3).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  t.is(counts.size, 6);
  // Each of 6 is binomial with mean 1000 and deviation 29.
  for (const count of counts.values()) t.true(Math.abs(count - 1000) < 6 * 29);
});
