import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { writeFileAtomic } from '../../lib/io/atomic-file.js';
import {
  parseSafetensors,
  readSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
  writeSafetensors,
} from '../../lib/io/safetensors.js';

const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-safetensors-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

/** A file with this header text and these bytes of data, whether or not they fit each other. */
function file(header: string | object, data: readonly number[] = [], headerLength?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength ?? text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

const shapes = fc.array(fc.nat(4), { maxLength: 4 });
const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const filled = <T>(element: fc.Arbitrary<T>) =>
  shapes.chain((shape) =>
    fc.tuple(fc.constant(shape), fc.array(element, { minLength: size(shape), maxLength: size(shape) })),
  );
const tensor: fc.Arbitrary<SafetensorsTensor> = fc.oneof(
  filled(fc.float()).map(([shape, x]) => ({ dtype: 'F32' as const, shape, data: Float32Array.from(x) })),
  filled(fc.double()).map(([shape, x]) => ({ dtype: 'F64' as const, shape, data: Float64Array.from(x) })),
  filled(fc.integer()).map(([shape, x]) => ({ dtype: 'I32' as const, shape, data: Int32Array.from(x) })),
  filled(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })).map(([shape, x]) => ({
    dtype: 'I64' as const,
    shape,
    data: BigInt64Array.from(x),
  })),
  filled(fc.nat(255)).map(([shape, x]) => ({ dtype: 'U8' as const, shape, data: Uint8Array.from(x) })),
  filled(fc.nat(65535)).map(([shape, x]) => ({ dtype: 'U16' as const, shape, data: Uint16Array.from(x) })),
  filled(fc.nat(1)).map(([shape, x]) => ({ dtype: 'BOOL' as const, shape, data: Uint8Array.from(x) })),
);
const names = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', '7', 'a"b', 'a:{b'));
const tensorLists = fc.uniqueArray(fc.tuple(names, tensor), { selector: ([name]) => name, maxLength: 6 });
const texts = fc.dictionary(fc.string(), fc.string());

// fast-check prints the seed and the smallest failing input.
test('whatever is written comes back, at any alignment of the bytes', (t) => {
  fc.assert(
    fc.property(tensorLists, texts, fc.nat(9), (list, metadata, shift) => {
      const bytes = serializeSafetensors(Object.fromEntries(list), metadata);
      const shifted = new Uint8Array(bytes.length + shift).subarray(shift);
      shifted.set(bytes);
      const read = parseSafetensors(shifted);
      t.is(read.tensors.size, list.length);
      for (const [name, expected] of list) t.deepEqual(read.tensors.get(name), expected);
      t.deepEqual({ ...read.metadata }, { ...metadata });
    }),
    { numRuns: 300 },
  );
});

test('the same tensors give the same bytes in any order, each aligned for its dtype', (t) => {
  fc.assert(
    fc.property(tensorLists, (list) => {
      const bytes = serializeSafetensors(Object.fromEntries(list));
      t.deepEqual(serializeSafetensors(Object.fromEntries([...list].reverse())), bytes);
      for (const { data } of parseSafetensors(bytes).tensors.values()) t.true(data.buffer === bytes.buffer);
    }),
  );
});

test('no damage of one byte goes past the reader as an untyped error', (t) => {
  const bytes = serializeSafetensors(
    { weight: { dtype: 'F32', shape: [2, 2], data: new Float32Array(4) } },
    { a: 'b' },
  );
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (position, value) => {
      const damaged = bytes.slice();
      damaged[position] = value;
      try {
        parseSafetensors(damaged);
      } catch (error) {
        t.like(error, { name: 'KalmanNormError', code: 'FILE_CORRUPT' });
      }
    }),
    { numRuns: 500 },
  );
});

test('a file of another writer is read: header unpadded, data unaligned', (t) => {
  const header = {
    flag: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
    x: { dtype: 'F32', shape: [], data_offsets: [1, 5] },
    none: { dtype: 'F32', shape: [0, 3], data_offsets: [1, 1] },
  };
  const { tensors, metadata } = parseSafetensors(file(header, [7, 0, 0, 0x80, 0x3f]));
  t.deepEqual([...tensors.keys()], ['flag', 'none', 'x']);
  t.deepEqual(tensors.get('x'), { dtype: 'F32', shape: [], data: Float32Array.of(1) });
  t.deepEqual(metadata, {});
});

test('a long text in the metadata is no trouble', (t) => {
  const log = 'a"\\:{'.repeat(400_000);
  t.is(parseSafetensors(serializeSafetensors({}, { log })).metadata.log, log);
});

const f32 = (shape: unknown, begin: unknown, end: unknown) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });
const zeros = (count: number) => Array<number>(count).fill(0);
const corrupt: [string, Uint8Array, RegExp][] = [
  ['no bytes', new Uint8Array(0), /header length of 8 bytes.* has 0 bytes/],
  ['a header longer than the file', file('{}', [], 3), /truncated: the header takes 11 bytes, but the file has 10/],
  ['a huge header length', file('{}', [], 2 ** 40), /at most 100000000 bytes/],
  ['no object', file('[]'), /start with "{"/],
  ['broken JSON', file('{"a":'), /isn't JSON/],
  ['bytes that are no UTF-8', file('{"\u00e9":1}').map((b) => (b === 0xc3 ? 0xff : b)), /isn't JSON in UTF-8/],
  [
    'a repeated name',
    file(
      '{"a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}, "a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ),
    /distinct names.* 1 of 2/,
  ],
  ['metadata that is no text', file({ __metadata__: { a: 1 } }), /__metadata__: expected an object of strings/],
  ['an entry that is no object', file({ a: 3 }), /tensor "a": expected an object, got 3/],
  [
    'an unknown dtype',
    file({ a: { ...f32([1], 0, 4), dtype: 'F8_E4M3' } }, zeros(4)),
    /tensor "a": expected a dtype of F64, F32.*"F8_E4M3"/,
  ],
  [
    'a dtype named as a property of objects',
    file({ a: { ...f32([1], 0, 4), dtype: 'constructor' } }, zeros(4)),
    /expected a dtype/,
  ],
  ['a negative size', file({ a: f32([-1], 0, 4) }, zeros(4)), /non-negative integers, got \[-1\]/],
  ['a fractional size', file({ a: f32([0.5], 0, 2) }, zeros(2)), /non-negative integers/],
  ['no shape', file({ a: f32(undefined, 0, 4) }, zeros(4)), /shape of non-negative integers, got undefined/],
  ['offsets backwards', file({ a: f32([1], 4, 0) }, zeros(4)), /data_offsets \[begin, end\]/],
  [
    'a shape that does not fit its offsets',
    file({ a: f32([2, 3], 0, 4) }, zeros(4)),
    /F32 of shape \[2,3\] takes 24 bytes, but data_offsets span 4/,
  ],
  ['a shape whose product overflows', file({ a: f32([2 ** 50, 2 ** 50], 0, 4) }, zeros(4)), /tensor "a"/],
  ['data cut off', file({ a: f32([2], 0, 8) }, zeros(7)), /truncated: data_offsets end at 8, but the file has 7/],
  ['data left over', file({ a: f32([2], 0, 8) }, zeros(9)), /oversized: the tensors take 8 bytes, but the file has 9/],
  [
    'an overlap',
    file({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, zeros(12)),
    /"b": overlaps.*begin at 8, but data_offsets begin at 4/,
  ],
  ['a hole', file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, zeros(12)), /"b": leaves a hole.*begin at 4/],
];
for (const [what, bytes, message] of corrupt) {
  test(`the reader refuses ${what}`, (t) => {
    const error = t.throws(() => parseSafetensors(bytes, 'model.safetensors'), { message });
    t.like(error, { name: 'KalmanNormError', code: 'FILE_CORRUPT' });
    t.true(error.message.startsWith('model.safetensors: '));
  });
}

test('the writer refuses tensors that contradict themselves, at once and without a file', (t) => {
  const path = join(folder, 'never.safetensors');
  const data = new Float32Array(4);
  const write = (tensors: unknown, metadata?: unknown) => () =>
    writeSafetensors(path, tensors as Record<string, SafetensorsTensor>, metadata as Record<string, string>);
  t.throws(write({ a: { dtype: 'F32', shape: [3], data } }), {
    code: 'SHAPE_MISMATCH',
    message: /"a".*expects 3 elements, got 4/,
  });
  t.throws(write({ a: { dtype: 'I32', shape: [4], data } }), {
    code: 'DTYPE_MISMATCH',
    message: /Int32Array, got Float32Array/,
  });
  t.throws(write({ a: { dtype: 'I32', shape: [4], data: undefined } }), { code: 'DTYPE_MISMATCH' });
  t.throws(write({ a: { dtype: 'F8', shape: [4], data } }), { code: 'INVALID_ARGUMENT', message: /got F8/ });
  t.throws(write({ a: { dtype: 'F32', shape: [-4], data } }), { code: 'INVALID_ARGUMENT', message: /\[-4\]/ });
  t.throws(write({ __metadata__: { dtype: 'F32', shape: [4], data } }), {
    code: 'INVALID_ARGUMENT',
    message: /reserved/,
  });
  t.throws(write({}, { epoch: 3 }), { code: 'INVALID_ARGUMENT', message: /"epoch".*got number/ });
  t.false(existsSync(path));
});

test('a file is written as it was at the call, and read back', async (t) => {
  const path = join(folder, 'model.safetensors');
  const weight = Float32Array.of(1, 2, 3);
  const written = writeSafetensors(path, { weight: { dtype: 'F32', shape: [3], data: weight } }, { epoch: '4' });
  weight.fill(0);
  await written;
  const { tensors, metadata } = await readSafetensors(path);
  t.deepEqual(tensors.get('weight')?.data, Float32Array.of(1, 2, 3));
  t.deepEqual(metadata, { epoch: '4' });
});

test('reading names what is missing', async (t) => {
  await t.throwsAsync(readSafetensors(join(folder, 'absent')), { code: 'FILE_NOT_FOUND', message: /no file .*absent/ });
  await t.throwsAsync(readSafetensors(folder), { code: 'FILE_NOT_FOUND', message: /is a folder/ });
});

test('an atomic write replaces a file, and leaves the old one and no rubbish on failure', async (t) => {
  const place = await mkdtemp(join(folder, 'atomic-'));
  const path = join(place, 'a.txt');
  await writeFileAtomic(path, 'old');
  await writeFileAtomic(path, new TextEncoder().encode('new \u00e4'));
  t.is(await readFile(path, 'utf8'), 'new \u00e4');
  // The content fails after the temporary file was opened, as a full disk would.
  await t.throwsAsync(writeFileAtomic(path, 5 as unknown as string));
  t.is(await readFile(path, 'utf8'), 'new \u00e4');
  t.deepEqual(await readdir(place), ['a.txt']);
  await t.throwsAsync(writeFileAtomic(join(place, 'no/b.txt'), 'x'), {
    code: 'FILE_NOT_FOUND',
    message: /doesn't exist/,
  });
});

test('a rename that fails leaves no rubbish', async (t) => {
  const place = await mkdtemp(join(folder, 'rename-'));
  await mkdir(join(place, 'target'));
  await writeFile(join(place, 'target', 'file'), 'x');
  await t.throwsAsync(writeFileAtomic(join(place, 'target'), 'x'));
  t.deepEqual(await readdir(place), ['target']);
});

test('concurrent writes of one file leave one whole content', async (t) => {
  const place = await mkdtemp(join(folder, 'concurrent-'));
  const path = join(place, 'a.txt');
  const contents = Array.from({ length: 8 }, (_, i) => String(i).repeat(10_000));
  await Promise.all(contents.map((content) => writeFileAtomic(path, content)));
  t.true(contents.includes(await readFile(path, 'utf8')));
  t.deepEqual(await readdir(place), ['a.txt']);
});
