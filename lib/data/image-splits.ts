import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkPath } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { hasErrno } from '../io/read-file.js';
import { type EncodedImages, listImageFolder } from './encoded-images.js';
import { openWebDataset } from './web-dataset.js';

/** Training and validation images; see {@link openImageSplits}. */
export interface ImageSplits {
  readonly train: EncodedImages;
  readonly val: EncodedImages;
}

/**
 * The images of DIR/train and DIR/val: folders of classes ({@link listImageFolder}), or tars ({@link openWebDataset}).
 *
 * @throws KalmanNormError as these two; `INVALID_ARGUMENT` where the classes of the two parts differ, naming one
 */
export async function openImageSplits(folder: string): Promise<ImageSplits> {
  checkPath('openImageSplits', folder);
  const train = await openPart(join(folder, 'train'));
  try {
    const val = await openPart(join(folder, 'val'));
    try {
      checkClasses(folder, train, val);
      return { train, val };
    } catch (error) {
      await val.close();
      throw error;
    }
  } catch (error) {
    await train.close();
    throw error;
  }
}

async function openPart(folder: string): Promise<EncodedImages> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    const expected = 'expected train and val there, with a folder for each class or with tars';
    throw new KalmanNormError('FILE_NOT_FOUND', `there is no folder ${folder}: ${expected}`, { cause: error });
  });
  return names.some((name) => name.endsWith('.tar')) ? openWebDataset(folder) : listImageFolder(folder);
}

function checkClasses(folder: string, train: EncodedImages, val: EncodedImages): void {
  const extra = val.classNames.find((name) => !train.classNames.includes(name));
  check(
    extra === undefined,
    'INVALID_ARGUMENT',
    `${folder}: the class "${extra}" is among the validation images, but not among the training images`,
  );
  const missing = train.classNames.find((name) => !val.classNames.includes(name));
  check(
    missing === undefined,
    'INVALID_ARGUMENT',
    `${folder}: the class "${missing}" is among the training images, but not among the validation images`,
  );
}
