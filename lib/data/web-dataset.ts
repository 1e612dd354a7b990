import { type FileHandle, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkPath, shortened } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { hasErrno, openToRead, readAt } from '../io/read-file.js';
import { formatCount } from './dataset.js';
import { byName, type EncodedImages, imageEnding } from './encoded-images.js';
import { labelsOf } from './source.js';

/** An entry of a tar, by the place of its bytes. */
interface Entry {
  readonly name: string;
  readonly position: number;
  readonly size: number;
}

/** Bytes read at a time between images: the headers and the label of the next sample. */
const pieceLength = 4096;
const zeros = new Uint8Array(2 ** 20);
const blockLength = 512;

/**
 * The images of a folder of tars in the format of WebDataset: a sample is the files of one name, of which `NAME.jpg` (or
 * jpeg, png, webp) is the image and `NAME.cls` the number of its class, from 0; other files are left alone. A file
 * `classes.txt` beside the tars, a name a line, names the classes; else they are called by their numbers.
 *
 * Headers and labels are read once, here, and pixels are skipped; from then on images are read by their places, in any
 * order. So a pass is in the same order as over folders of the same images, and needs no shuffling buffer. The tars must be
 * files that can be read anywhere, not compressed, and stay open. Needs the package `tar-stream`.
 *
 * @param folder has the tars, which are taken in the order of their names
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such folder, or no tar in it; `FILE_CORRUPT` for a tar that is
 *   truncated or no tar, an image without a class and a class without an image, naming tar and entry; `PACKAGE_MISSING`
 *   where tar-stream isn't installed
 */
export async function openWebDataset(folder: string): Promise<EncodedImages> {
  checkPath('openWebDataset', folder);
  const inside = await readdir(folder).catch((error: unknown) => {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new KalmanNormError('FILE_NOT_FOUND', `openWebDataset: there is no folder ${folder}`, { cause: error });
  });
  const tars = inside.filter((name) => name.endsWith('.tar')).sort(byName);
  check(tars.length > 0, 'FILE_NOT_FOUND', `openWebDataset: expected files that end in .tar in ${folder}, found none`);
  const files: FileHandle[] = [];
  const close = async () => {
    await Promise.all(files.map((file) => file.close()));
  };
  try {
    const images: (Entry & { readonly tar: number })[] = [];
    const labels: number[] = [];
    for (const [tar, name] of tars.entries()) {
      const path = join(folder, name);
      const file = await openToRead(path, 'a tar of images');
      files.push(file);
      for (const { image, label } of samplesOf(path, await readTar(path, file))) {
        images.push({ ...image, tar });
        labels.push(label);
      }
    }
    check(images.length > 0, 'FILE_CORRUPT', `${folder}: expected images in the tars, found none`);
    const classNames = await namesOf(folder, labels);
    const nameOf = (index: number) => {
      const { tar, name } = images[index] as (typeof images)[number];
      return `${join(folder, tars[tar] as string)}: ${name}`;
    };
    const tarsText = `${tars.length} tar${tars.length > 1 ? 's' : ''}`;
    return {
      name: basename(resolve(folder)),
      classNames,
      labels: labelsOf(labels, classNames.length),
      note: `${formatCount(images.length)} images of ${classNames.length} classes from ${tarsText} in ${folder}.`,
      nameOf,
      async read(index) {
        const { tar, position, size } = images[index] as (typeof images)[number];
        const bytes = Buffer.allocUnsafe(size);
        const length = await readAt(files[tar] as FileHandle, bytes, position);
        check(length === size, 'FILE_CORRUPT', () => `${nameOf(index)}: the tar has become shorter`);
        return bytes;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What is in a tar: the places of its images, and the texts of its labels. */
interface Contents {
  readonly images: readonly Entry[];
  readonly labels: ReadonlyMap<string, string>;
}

/**
 * Lists a tar. tar-stream takes it as a stream; in place of an image's bytes it gets zeros, so that the disk reads headers
 * and labels alone.
 */
async function readTar(path: string, file: FileHandle): Promise<Contents> {
  const { extract } = await import('tar-stream').catch((error: unknown) => {
    const remedy = 'npm install tar-stream@^3.2.2';
    throw new KalmanNormError('PACKAGE_MISSING', `openWebDataset: tars are read by tar-stream: ${remedy}`, {
      cause: error,
    });
  });
  const { size } = await file.stat();
  const end = new Uint8Array(Math.min(size, 2 * blockLength));
  await readAt(file, end, size - end.length);
  const images: Entry[] = [];
  const labels = new Map<string, string>();
  let last = { name: '', end: 0 };
  /** Where the bytes of the image end that the stream is in. */
  let skipTo = 0;
  // Each write is waited for, as it may say that there is something to skip.
  const stream = extract({ highWaterMark: 1 });
  stream.on('entry', ({ name, size: length, type }, body, next) => {
    const position = body.offset + blockLength;
    last = { name, end: position + length };
    const isImage = type === 'file' && imageEnding.test(name);
    if (isImage) {
      images.push({ name, position, size: length });
      skipTo = last.end;
    }
    const chunks: Uint8Array[] = [];
    const isLabel = type === 'file' && name.endsWith('.cls');
    body.on('data', (chunk) => {
      if (isLabel && chunks.length < 16) chunks.push(chunk as Uint8Array);
    });
    body.on('end', () => {
      if (isLabel) labels.set(stemOf(name), Buffer.concat(chunks).toString('latin1').trim());
      next();
    });
    body.on('error', () => {});
  });
  const failed = new Promise<never>((_, reject) => stream.on('error', reject));
  // Whoever writes next is told.
  failed.catch(() => {});
  const write = (bytes: Uint8Array) =>
    Promise.race([
      failed,
      new Promise<void>((done) => (stream.write(bytes) ? done() : stream.once('drain', () => done()))),
    ]);
  try {
    for (let at = 0; at < size; ) {
      const skipped = Math.min(skipTo, size) - at;
      const bytes = skipped > 0 ? zeros.subarray(0, skipped) : new Uint8Array(Math.min(pieceLength, size - at));
      if (skipped <= 0) await readAt(file, bytes, at);
      at += bytes.length;
      await write(bytes);
    }
    stream.end(undefined);
    await Promise.race([failed, new Promise<void>((done) => stream.on('close', () => done()))]);
    // Two blocks of zeros: a tar that was cut between two entries lacks them.
    if (end.some((byte) => byte !== 0)) throw new Error('its end is missing');
  } catch (error) {
    const where = last.name ? `, in or behind ${shortened(last.name)}` : '';
    const cause = last.end > size ? 'it is truncated' : `it can't be read (${(error as Error).message})`;
    throw new KalmanNormError('FILE_CORRUPT', `${path}: expected a tar of images, but ${cause}${where}`, {
      cause: error,
    });
  }
  return { images, labels };
}

/** The images of a tar with their classes. */
function* samplesOf(path: string, { images, labels }: Contents): Generator<{ image: Entry; label: number }> {
  for (const image of images) {
    const text = labels.get(stemOf(image.name));
    check(
      text !== undefined && /^\d{1,5}$/.test(text),
      'FILE_CORRUPT',
      () =>
        `${path}: expected the number of a class in ${stemOf(image.name)}.cls, ` +
        `${text === undefined ? 'found no such file' : `got "${shortened(text)}"`}`,
    );
    yield { image, label: Number(text) };
  }
}

/** A file's name up to the first point of its last part, which the files of a sample have in common. */
function stemOf(name: string): string {
  const slash = name.lastIndexOf('/') + 1;
  const point = name.indexOf('.', slash);
  return point < 0 ? name : name.slice(0, point);
}

/** The names of the classes: those of `classes.txt`, or numbers. */
async function namesOf(folder: string, labels: readonly number[]): Promise<string[]> {
  const count = labels.reduce((most, label) => Math.max(most, label), 0) + 1;
  const path = join(folder, 'classes.txt');
  const file = await openToRead(path, 'names of classes').catch((error: unknown) => {
    if (error instanceof KalmanNormError && error.code === 'FILE_NOT_FOUND') return null;
    throw error;
  });
  const text = file && (await file.readFile('utf8').finally(() => file.close()));
  const names = text === null ? Array.from({ length: count }, (_, i) => String(i)) : text.trim().split(/\r?\n/);
  check(
    names.length >= count,
    'FILE_CORRUPT',
    `${path}: expected a name for each of ${count} classes, found ${names.length}`,
  );
  const found = new Set(labels);
  const empty = names.findIndex((_, label) => !found.has(label));
  check(empty < 0, 'FILE_CORRUPT', `${folder}: expected images of each class, found none of class ${names[empty]}`);
  return names;
}
