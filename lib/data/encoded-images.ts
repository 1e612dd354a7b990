import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { hasErrno } from '../io/read-file.js';
import { formatCount } from './dataset.js';
import { type Labels, labelsOf } from './source.js';

/** Encoded images (JPEG, PNG, WebP) with their classes; {@link decodeImages} makes a {@link BatchSource} of them. */
export interface EncodedImages {
  /** Such as the name of a folder. */
  readonly name: string;
  readonly classNames: readonly string[];
  /** The class of each image, as an index into `classNames`; their number is that of the images. */
  readonly labels: Labels;
  /** Where the images come from, and how many: a sentence for logs. */
  readonly note: string;
  /** Where an image is, for messages: its path, or its tar and its name in it. */
  nameOf(index: number): string;
  /** An image: the path of its file, or its bytes. */
  read(index: number): string | Promise<Buffer>;
  /** Closes the files that are open. */
  close(): Promise<void>;
}

/** Endings of image files; ImageNet's own is `.JPEG`. @internal */
export const imageEnding = /\.(jpe?g|png|webp)$/i;

/**
 * The image files of a folder with a folder a class, as torchvision's ImageFolder: FOLDER/CLASS/*.jpg, at any depth. The
 * classes are in the order of their names. The names are listed, no file is opened.
 *
 * @param folder has a folder for each class
 * @throws KalmanNormError `FILE_NOT_FOUND` where there is no such folder, no class in it, or a class without an image;
 *   `INVALID_ARGUMENT` for a single class
 */
export async function listImageFolder(folder: string): Promise<EncodedImages> {
  checkPath('listImageFolder', folder);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new KalmanNormError('FILE_NOT_FOUND', `listImageFolder: there is no folder ${folder}`, { cause: error });
  });
  // Links to folders are no directories here.
  const classNames = entries
    .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
    .map(({ name }) => name)
    .sort(byName);
  check(
    classNames.length > 0,
    'FILE_NOT_FOUND',
    `listImageFolder: expected a folder for each class in ${folder}, found none`,
  );
  const files: string[] = [];
  const labels: number[] = [];
  for (const [label, name] of classNames.entries()) {
    const inside = (await readdir(join(folder, name), { recursive: true })).filter((file) => imageEnding.test(file));
    check(
      inside.length > 0,
      'FILE_NOT_FOUND',
      `listImageFolder: expected JPEG, PNG or WebP images in the folder of each class, found none in ${join(folder, name)}`,
    );
    for (const file of inside.sort(byName)) {
      files.push(file);
      labels.push(label);
    }
  }
  const nameOf = (index: number) => join(folder, classNames[labels[index] as number] as string, files[index] as string);
  return {
    name: basename(resolve(folder)),
    classNames,
    labels: labelsOf(labels, classNames.length),
    note: `${formatCount(files.length)} images of ${classNames.length} classes from ${folder}.`,
    nameOf,
    read: nameOf,
    close: async () => {},
  };
}

/** The order of names: by their code units, the same everywhere. @internal */
export function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}
