import { chmod, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  loadCifar10,
  parseSafetensors,
  readSafetensors,
  serializeSafetensors,
  writeSafetensors,
} from '../lib/index.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { narrowBF16, narrowF16, widenBF16, widenF16 } from '../lib/io/half.js';
import { seeded } from './support/devices.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-bytes-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

const allBits = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

/** The value of a binary float with so many bits of exponent and mantissa, by its definition. */
function floatOf(bits: number, exponentBits: number, mantissaBits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> mantissaBits) & (2 ** exponentBits - 1);
  const fraction = (bits % 2 ** mantissaBits) / 2 ** mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

const formats = [
  { name: 'F16', widen: widenF16, narrow: narrowF16, exponent: 5, mantissa: 10 },
  { name: 'BF16', widen: widenBF16, narrow: narrowBF16, exponent: 8, mantissa: 7 },
] as const;

for (const { name, widen, narrow, exponent, mantissa } of formats) {
  test(`${name}: every value is widened exactly, and comes back`, (t) => {
    const wide = widen(allBits);
    const wrong = allBits.findIndex((bits) => !Object.is(wide[bits], floatOf(bits, exponent, mantissa)));
    t.is(wrong, -1);
    const back = narrow(wide);
    t.is(
      allBits.findIndex((bits) => back[bits] !== bits && !Number.isNaN(wide[bits])),
      -1,
    );
    t.true(narrow(wide.filter(Number.isNaN)).every((bits) => Number.isNaN(floatOf(bits, exponent, mantissa))));
  });

  test(`${name}: values are rounded to the nearest, ties to even`, async (t) => {
    const largest = ((2 ** exponent - 1) << mantissa) - 1;
    // One more step than the largest: where infinity begins to round.
    const grid = (bits: number) => (bits > largest ? 2 ** (2 ** (exponent - 1)) : floatOf(bits, exponent, mantissa));
    const nearest = (value: number): number => {
      let [low, high] = [0, largest + 1];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (grid(middle) <= value) low = middle;
        else high = middle;
      }
      const [below, above] = [value - grid(low), grid(high) - value];
      return below < above || (below === above && low % 2 === 0) ? low : high;
    };
    await seeded(t, name, (random) => {
      const bits = Array.from({ length: 20_000 }, () => random.word() & 0x7fffffff).filter((word) => word < 0x7f800000);
      const values = [
        ...new Float32Array(Uint32Array.from(bits).buffer),
        ...Array.from({ length: 20_000 }, () => Math.fround(2 ** random.uniform(-30, 18))),
        // Ties, and their neighbours.
        ...Array.from({ length: 3000 }, () => {
          const at = random.below(largest);
          return Math.fround((grid(at) + grid(at + 1)) / 2);
        }),
      ];
      const narrowed = narrow(Float32Array.from(values));
      for (const [i, value] of values.entries()) {
        if (narrowed[i] !== nearest(value)) t.fail(`${value}: ${narrowed[i]}, expected ${nearest(value)}`);
      }
      t.deepEqual(
        [...narrow(Float32Array.from(values, (value) => -value))],
        Array.from(narrowed, (half) => half | 0x8000),
      );
    });
  });
}

test('files with F16 and BF16 are read, and written on request', async (t) => {
  const path = join(folder, 'half.safetensors');
  const data = Float32Array.of(1, -0.5, 65504, 2 ** -24);
  await writeSafetensors(path, {
    half: { dtype: 'F16', shape: [2, 2], data },
    brain: { dtype: 'BF16', shape: [3], data: Float32Array.of(1, 3e38, 1.01) },
    byte: { dtype: 'U8', shape: [1], data: Uint8Array.of(7) },
  });
  const { tensors } = await readSafetensors(path);
  t.deepEqual(tensors.get('half'), { dtype: 'F16', shape: [2, 2], data });
  t.deepEqual([...tensors.get('brain')!.data], [1, 226 * 2 ** 120, 1.0078125]);
  const header = { x: { dtype: 'BF16', shape: [2], data_offsets: [0, 4] } };
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Unaligned, and little-endian: 0x3f80 is 1, 0xc040 is -3.
  const bytes = Uint8Array.of(json.length, 0, 0, 0, 0, 0, 0, 0, ...json, 0x80, 0x3f, 0x40, 0xc0);
  t.deepEqual([...parseSafetensors(bytes).tensors.get('x')!.data], [1, -3]);
  t.throws(() => serializeSafetensors({ a: { dtype: 'F16', shape: [1], data: Float32Array.of(65520) } }), {
    code: 'INVALID_ARGUMENT',
    message: /"a".*F16 holds values up to 65504, got 65520/,
  } as object);
});

test('what is written can be read: metadata of any length that is accepted', async (t) => {
  const path = join(folder, 'notes.safetensors');
  const notes = '"'.repeat(4e6);
  await writeSafetensors(path, {}, { notes });
  t.is((await readSafetensors(path)).metadata.notes, notes);
  // Refused at once: the good file is as it was.
  t.throws(() => writeSafetensors(path, {}, { notes: 'x'.repeat(100_000_000) }), {
    code: 'INVALID_ARGUMENT',
    message: /metadata: expected at most 100000000 bytes/,
  } as object);
  t.is((await readSafetensors(path)).metadata.notes, notes);
  t.notThrows(() => parseSafetensors(serializeSafetensors({}, { notes: 'x'.repeat(99_999_950) })));
});

test('an atomic write follows links, keeps permissions and refuses what is no file', async (t) => {
  const place = await mkdtemp(join(folder, 'atomic-'));
  const file = join(place, 'private');
  await writeFile(file, 'old');
  await chmod(file, 0o600);
  await symlink('private', join(place, 'link'));
  await symlink(join(place, 'link'), join(place, 'link-to-link'));
  await writeFileAtomic(join(place, 'link-to-link'), 'new');
  t.is(await readFile(file, 'utf8'), 'new');
  t.is((await stat(file)).mode & 0o777, 0o600);
  t.is(await readlink(join(place, 'link')), 'private');
  await symlink('later', join(place, 'dangling'));
  await writeFileAtomic(join(place, 'dangling'), 'x');
  t.is(await readFile(join(place, 'later'), 'utf8'), 'x');
  await symlink('loop', join(place, 'loop'));
  await t.throwsAsync(writeFileAtomic(join(place, 'loop'), 'x'), {
    code: 'INVALID_ARGUMENT',
    message: /links/,
  } as object);
  await t.throwsAsync(writeFileAtomic('/dev/null', 'x'), {
    code: 'INVALID_ARGUMENT',
    message: /\/dev\/null/,
  } as object);
  await t.throwsAsync(writeFileAtomic(place, 'x'), { code: 'INVALID_ARGUMENT', message: /folder/ } as object);
  for (const nowhere of ['none/x', 'link/x'])
    await t.throwsAsync(writeFileAtomic(join(place, nowhere), 'x'), {
      code: 'FILE_NOT_FOUND',
      message: /the folder of .* doesn't exist/,
    } as object);
  t.deepEqual((await readdir(place)).sort(), ['dangling', 'later', 'link', 'link-to-link', 'loop', 'private']);
});

test('a huge file is refused with its name, unread', async (t) => {
  const place = await mkdtemp(join(folder, 'huge-'));
  for (const name of ['data_batch_1.bin', 'test_batch.bin']) await writeFile(join(place, name), '');
  // Sparse: takes no room on the disk.
  await truncate(join(place, 'data_batch_1.bin'), 3 * 2 ** 30);
  await t.throwsAsync(loadCifar10(place), {
    code: 'FILE_CORRUPT',
    message: /data_batch_1\.bin: expected .* at most .*3221225472/,
  } as object);
});
