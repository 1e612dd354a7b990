/** The readers of folders: data sets. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { loadCifar10, loadFashionMnist } from '../../lib/index.js';
import type { TestRandom } from '../support/random.js';
import { mutateBytes, pick } from './mutate.js';
import { isKept, type Target } from './target.js';

/** A target whose reader wants a folder. */
function folderTarget(
  name: string,
  make: (random: TestRandom, valid: boolean) => Readonly<Record<string, Uint8Array>>,
  read: (folder: string) => Promise<unknown>,
): Target {
  const folder = mkdtempSync(join(tmpdir(), 'kalman-norm-fuzz-'));
  return {
    name,
    share: 0.01,
    codes: ['FILE_CORRUPT'],
    make(random) {
      const valid = isKept(random);
      const files = make(random, valid);
      return {
        size: Object.values(files).reduce((sum, { length }) => sum + length, 0),
        valid,
        read() {
          for (const [file, bytes] of Object.entries(files)) writeFileSync(join(folder, file), bytes);
          return read(folder);
        },
      };
    },
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Some records of CIFAR-10, of one shade each. */
function cifarRecords(random: TestRandom): Uint8Array {
  return Buffer.concat(Array.from({ length: 1 + random.below(3) }, () => Buffer.alloc(3073, random.below(10))));
}

export const cifar = folderTarget(
  'cifar',
  (random, valid) => {
    const files = { 'data_batch_1.bin': cifarRecords(random), 'test_batch.bin': cifarRecords(random) };
    if (valid) return files;
    const file = pick(random, Object.keys(files) as (keyof typeof files)[]);
    return { ...files, [file]: mutateBytes(random, files[file]) };
  },
  loadCifar10,
);

function idx(values: Uint8Array, ...shape: number[]): Uint8Array {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt32BE(0x800 + shape.length);
  for (const [i, size] of shape.entries()) header.writeUInt32BE(size, 4 + 4 * i);
  return Buffer.concat([header, values]);
}

export const fashion = folderTarget(
  'fashion-mnist',
  (random, valid) => {
    const files: [string, Uint8Array][] = ['train', 't10k'].flatMap((prefix) => [
      [`${prefix}-images-idx3-ubyte.gz`, idx(Buffer.alloc(2 * 28 * 28, random.below(256)), 2, 28, 28)],
      [`${prefix}-labels-idx1-ubyte.gz`, idx(Buffer.from([random.below(10), random.below(10)]), 2)],
    ]);
    const changed = valid ? -1 : random.below(files.length);
    const isPacked = random.below(2) === 0;
    return Object.fromEntries(
      files.map(([name, bytes], i) => {
        if (i !== changed) return [name, gzipSync(bytes)];
        return [name, isPacked ? mutateBytes(random, gzipSync(bytes)) : gzipSync(mutateBytes(random, bytes))];
      }),
    );
  },
  loadFashionMnist,
);
