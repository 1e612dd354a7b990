import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { check, KalmanNormError } from '../errors.js';
import { makeFolder } from '../io/make-folder.js';
import { checkOptions } from '../options.js';

/** How far a download is. */
export interface DownloadProgress {
  /** `download`: bytes arrive; `verify`: the md5 sum is computed; `extract`: the archive is unpacked. */
  readonly stage: 'download' | 'verify' | 'extract';
  /** The archive's file name. */
  readonly file: string;
  /** Bytes of the archive that are there, those of an earlier, interrupted download included. */
  readonly receivedBytes: number;
  /** Size of the archive in bytes, where the server told it. */
  readonly totalBytes?: number;
}

/** Options of a download. */
export interface DownloadOptions {
  /** Called after every piece of data and at every change of stage. Default: nothing is reported */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Stops the download with the signal's reason; what has arrived is kept for the next call. Default: none */
  readonly signal?: AbortSignal | undefined;
  /** A mirror of the official archive; the md5 sum must be the same. Default: the official address */
  readonly url?: string | undefined;
}

/** An archive on a server, and the folder that unpacking it gives. */
export interface Archive {
  readonly url: string;
  /** File name of the archive in the data folder. */
  readonly file: string;
  /** md5 sum of the archive, as the publisher states it, in hexadecimal. */
  readonly md5: string;
  /** The one folder in the archive. */
  readonly folder: string;
}

/** The official archive of CIFAR-10 in binary form, 170 MB. */
export const cifar10Archive: Archive = {
  url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  file: 'cifar-10-binary.tar.gz',
  md5: 'c32a1d4ab5d03f1284b67883e8d87530',
  folder: 'cifar-10-batches-bin',
};

/** The official archive of CIFAR-100 in binary form, 169 MB. */
export const cifar100Archive: Archive = {
  url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
  file: 'cifar-100-binary.tar.gz',
  md5: '03b5dce01913d631647c71ecec9e9cb8',
  folder: 'cifar-100-binary',
};

/** `downloadArchive` for CIFAR-10. */
export function downloadCifar10(dir: string, options?: DownloadOptions): Promise<string> {
  return downloadArchive(cifar10Archive, dir, options);
}

/** `downloadArchive` for CIFAR-100. */
export function downloadCifar100(dir: string, options?: DownloadOptions): Promise<string> {
  return downloadArchive(cifar100Archive, dir, options);
}

/**
 * Downloads, verifies and unpacks an archive. The folder appears under its final name when it is complete, so that a
 * crash never leaves half a data set. An interrupted transfer leaves a `.part` file, and this call or the next one
 * continues it where the server can. An archive that is already in `dir` is used instead, if its md5 sum is right.
 * A download's archive is removed after unpacking.
 *
 * @param archive what to fetch
 * @param dir the data folder; created if need be
 * @returns the path of the unpacked folder
 * @throws KalmanNormError `DOWNLOAD_FAILED`, with what happened and what to do: the server can't be reached or
 *   refuses, the md5 sum is wrong, the `tar` command is missing or fails, or the target folder exists already
 * @throws the reason of `signal` when it is aborted
 */
export async function downloadArchive(archive: Archive, dir: string, options: DownloadOptions = {}): Promise<string> {
  checkOptions('download', options, { onProgress: true, signal: true, url: true });
  const { onProgress, signal, url = archive.url } = options;
  const target = join(dir, archive.folder);
  check(
    !existsSync(target),
    'DOWNLOAD_FAILED',
    `dir: ${target} exists already; remove or rename it to download it anew`,
  );
  signal?.throwIfAborted();
  await makeFolder('dir', dir);

  const path = join(dir, archive.file);
  const report = (stage: DownloadProgress['stage'], receivedBytes: number, totalBytes = receivedBytes) =>
    onProgress?.({ stage, file: archive.file, receivedBytes, totalBytes });
  const found = existsSync(path);
  const part = found ? path : `${path}.part`;
  if (!found) {
    await fetchWithRetries(url, part, signal, (receivedBytes, totalBytes) =>
      onProgress?.({
        stage: 'download',
        file: archive.file,
        receivedBytes,
        ...(totalBytes === undefined ? {} : { totalBytes }),
      }),
    );
  }
  const { size } = await stat(part);
  report('verify', size);
  const md5 = await md5OfFile(part);
  signal?.throwIfAborted();
  if (md5 !== archive.md5) {
    // Resuming wrong bytes would never end well. A file that somebody put there is theirs to remove.
    if (!found) await rm(part);
    const [from, remedy] = found ? [path, 'remove it'] : [url, 'it was removed; try again, or try a mirror'];
    throw failure(`${from}: expected md5 ${archive.md5}, got ${md5}: ${remedy}`);
  }
  if (!found) await rename(part, path);
  report('extract', size);
  await extract(archive, path, dir, target, signal);
  if (!found) await rm(path);
  return target;
}

/** Attempts in a row that bring nothing new before the download is given up. */
const maxIdleAttempts = 4;

type OnBytes = (received: number, total: number | undefined) => void;

async function fetchWithRetries(url: string, part: string, signal: AbortSignal | undefined, onBytes: OnBytes) {
  let furthest = await sizeOf(part);
  for (let idle = 0; ; ) {
    try {
      await fetchPart(url, part, signal, onBytes);
      return;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof KalmanNormError) throw error;
      const size = await sizeOf(part);
      // A server that can't continue starts from zero every time: only more than ever before counts as progress.
      idle = size > furthest ? 0 : idle + 1;
      furthest = Math.max(furthest, size);
      if (idle === maxIdleAttempts) {
        const kept = size > 0 ? ` ${size} bytes are kept in ${part}: the next call continues there.` : '';
        throw failure(`${url}: ${reason(error)} (${maxIdleAttempts} attempts without progress).${kept}`, error);
      }
      // An aborted sleep fails with an error of its own; the caller expects the signal's reason.
      await sleep(250 * 2 ** idle, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

/**
 * One request for what is missing in `part`.
 *
 * @throws KalmanNormError for an answer that a repetition won't change; another error for what is worth another try
 */
async function fetchPart(url: string, part: string, signal: AbortSignal | undefined, onBytes: OnBytes): Promise<void> {
  const offset = await sizeOf(part);
  // "identity", because ranges and the md5 sum are about the bytes of the file and not of an encoding of it.
  const headers = { 'accept-encoding': 'identity', ...(offset > 0 ? { range: `bytes=${offset}-` } : {}) };
  const response = await fetch(url, { headers, ...(signal === undefined ? {} : { signal }) });
  try {
    const range = parseContentRange(response.headers.get('content-range'));
    if (response.status === 416 && offset > 0) {
      // Nothing lies behind our last byte: the file is complete, or isn't the beginning of this one.
      if (range.total === offset) return;
      await rm(part);
      throw new Error(`the server has no byte ${offset} of the file; starting again`);
    }
    if (response.status >= 500 || response.status === 429) throw new Error(`the server answered ${status(response)}`);
    if (!response.ok || response.body === null) throw failure(`${url}: the server answered ${status(response)}`);

    const resumed = response.status === 206 && range.start === offset;
    if (response.status === 206 && !resumed)
      throw failure(`${url}: asked for bytes from ${offset}, got ${range.start}`);
    const start = resumed ? offset : 0;
    const length = response.headers.get('content-length');
    const total = range.total ?? (length === null ? undefined : start + Number(length));
    const received = await appendBody(response.body, part, start, (bytes) => onBytes(bytes, total));
    if (total !== undefined && received !== total) throw new Error(`expected ${total} bytes, got ${received}`);
  } finally {
    // Frees the connection where the body wasn't wanted; one that was read to its end doesn't mind.
    await response.body?.cancel().catch(() => {});
  }
}

/** Writes the body behind the first `start` bytes of the file, and returns the file's new size. */
async function appendBody(
  body: ReadableStream<Uint8Array>,
  path: string,
  start: number,
  onBytes: (received: number) => void,
): Promise<number> {
  let received = start;
  const file = await open(path, start > 0 ? 'a' : 'w');
  try {
    onBytes(received);
    for await (const chunk of body) {
      await file.writeFile(chunk);
      received += chunk.length;
      onBytes(received);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return received;
}

/** Such as `bytes 100-199/200`; an error 416 has a star in place of the range. */
function parseContentRange(header: string | null): { start?: number; total?: number } {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(?:(\d+)|\*)$/.exec(header ?? '');
  return {
    ...(match?.[1] === undefined ? {} : { start: Number(match[1]) }),
    ...(match?.[2] === undefined ? {} : { total: Number(match[2]) }),
  };
}

/** Unpacks into a temporary folder beside the target, and moves the one folder wanted to its place. */
async function extract(archive: Archive, path: string, dir: string, target: string, signal: AbortSignal | undefined) {
  const temporary = join(dir, `.extract-${process.pid}-${randomBytes(4).toString('hex')}`);
  await mkdir(temporary);
  try {
    await promisify(execFile)('tar', ['-xzf', path, '-C', temporary, '--no-same-owner'], { signal });
    await rename(join(temporary, archive.folder), target);
  } catch (error) {
    signal?.throwIfAborted();
    throw failure(`${path} can't be unpacked with the tar command: ${reason(error)}`, error);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function md5OfFile(path: string): Promise<string> {
  const hash = createHash('md5');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

async function sizeOf(path: string): Promise<number> {
  return existsSync(path) ? (await stat(path)).size : 0;
}

function status(response: Response): string {
  return `${response.status} ${response.statusText}`.trim();
}

/** fetch() says "fetch failed" and hides why in the cause. */
function reason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : message;
}

function failure(message: string, cause?: unknown): KalmanNormError {
  return new KalmanNormError('DOWNLOAD_FAILED', message, { cause });
}
