import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type Archive, cifar10Archive, type DownloadProgress, downloadArchive } from '../../lib/data/download.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-download-'));

// An archive like the official one: a folder with a file that gzip can't shrink.
const source = join(root, 'source');
await mkdir(join(source, 'the-folder'), { recursive: true });
let state = 1;
const content = Uint8Array.from({ length: 300_000 }, () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state >>> 24;
});
await writeFile(join(source, 'the-folder', 'data.bin'), content);
execFileSync('tar', ['-czf', join(root, 'archive.tar.gz'), '-C', source, 'the-folder']);
const bytes = new Uint8Array(await readFile(join(root, 'archive.tar.gz')));
const md5 = createHash('md5').update(bytes).digest('hex');

test.after.always(() => rm(root, { recursive: true, force: true }));

type Handler = (request: IncomingMessage, response: ServerResponse, from: number) => void;

/** Starts a server that ends with the test, and returns an archive on it with a fresh data folder. */
async function serve(t: ExecutionContext, handler: Handler) {
  const requests: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    requests.push(request.headers.range);
    handler(request, response, Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/archive.tar.gz`;
  const archive: Archive = { url, file: 'archive.tar.gz', md5, folder: 'the-folder' };
  return { archive, requests, dir: join(await mkdtemp(join(root, 'dir-')), 'data') };
}

/** A well-behaved server. */
const whole: Handler = (_, response, from) => {
  if (from >= bytes.length) return response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
  if (from === 0) return response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
  const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
  return response
    .writeHead(206, { 'content-range': range, 'content-length': bytes.length - from })
    .end(bytes.subarray(from));
};

/** Cuts the connection after `length` bytes of the answer, and the time in which a busy client reads them. */
function cut(response: ServerResponse, from: number, length: number): void {
  const headers = { 'content-length': bytes.length - from };
  const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(from > 0 ? 206 : 200, from > 0 ? { ...headers, ...range } : headers);
  response.write(bytes.subarray(from, from + length), () => setTimeout(() => response.destroy(), 250));
}

async function complete(t: ExecutionContext, dir: string) {
  t.deepEqual(await readdir(dir), ['the-folder'], 'no archive, .part file or temporary folder is left');
  t.true((await readFile(join(dir, 'the-folder', 'data.bin'))).equals(content));
}

test('a download is verified and unpacked, with progress', async (t) => {
  const { archive, dir } = await serve(t, whole);
  const progress: DownloadProgress[] = [];
  t.is(await downloadArchive(archive, dir, { onProgress: (p) => progress.push(p) }), join(dir, 'the-folder'));
  await complete(t, dir);
  t.deepEqual(progress[0], { stage: 'download', file: 'archive.tar.gz', receivedBytes: 0, totalBytes: bytes.length });
  t.deepEqual([...new Set(progress.map(({ stage }) => stage))], ['download', 'verify', 'extract']);
  const received = progress.map(({ receivedBytes }) => receivedBytes);
  t.deepEqual(
    received,
    [...received].sort((a, b) => a - b),
  );
  t.is(received.at(-1), bytes.length);
});

test('an interrupted transfer continues where it stopped', async (t) => {
  let first = true;
  const { archive, dir, requests } = await serve(t, (request, response, from) => {
    if (!first) return whole(request, response, from);
    first = false;
    return cut(response, from, 100_000);
  });
  await downloadArchive(archive, dir);
  await complete(t, dir);
  t.deepEqual(requests, [undefined, 'bytes=100000-']);
});

test('a server that cuts every answer short is followed as long as something new comes', async (t) => {
  const { archive, dir, requests } = await serve(t, (_, response, from) => cut(response, from, 50_000));
  await downloadArchive(archive, dir);
  await complete(t, dir);
  // What a client has received but not yet read when the connection breaks, it asks for again.
  t.true(requests.length >= Math.ceil(bytes.length / 50_000), `${requests.length} requests`);
});

test('the .part file of an earlier call is continued, and a complete one is taken as it is', async (t) => {
  for (const length of [1234, bytes.length]) {
    const { archive, dir, requests } = await serve(t, whole);
    await mkdir(dir);
    await writeFile(join(dir, 'archive.tar.gz.part'), bytes.subarray(0, length));
    await downloadArchive(archive, dir);
    await complete(t, dir);
    t.deepEqual(requests, [`bytes=${length}-`]);
  }
});

test('a .part file longer than the archive is started again', async (t) => {
  const { archive, dir } = await serve(t, whole);
  await mkdir(dir);
  await writeFile(join(dir, 'archive.tar.gz.part'), new Uint8Array(bytes.length + 1));
  await downloadArchive(archive, dir);
  await complete(t, dir);
});

test('a server that knows no ranges starts again, and nothing is doubled', async (t) => {
  let first = true;
  const { archive, dir, requests } = await serve(t, (_, response) => {
    if (first) cut(response, 0, 100_000);
    else response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    first = false;
  });
  await downloadArchive(archive, dir);
  await complete(t, dir);
  t.deepEqual(requests, [undefined, 'bytes=100000-']);
});

test('a server without ranges that never finishes is given up, and what came is kept', async (t) => {
  const { archive, dir, requests } = await serve(t, (_, response) => cut(response, 0, 100_000));
  const error = await t.throwsAsync(downloadArchive(archive, dir), { code: 'DOWNLOAD_FAILED' });
  t.regex(error.message, /4 attempts without progress.*100000 bytes are kept in .*\.part: the next call continues/);
  t.is(requests.length, 5);
  t.deepEqual(await readdir(dir), ['archive.tar.gz.part']);
});

test('a busy server is asked again', async (t) => {
  let first = true;
  const { archive, dir } = await serve(t, (request, response, from) => {
    if (!first) return whole(request, response, from);
    first = false;
    return response.writeHead(503).end('busy');
  });
  await downloadArchive(archive, dir);
  await complete(t, dir);
});

test('a wrong md5 sum removes the download and names both sums', async (t) => {
  const { archive, dir } = await serve(t, whole);
  const expected = '0'.repeat(32);
  const error = await t.throwsAsync(downloadArchive({ ...archive, md5: expected }, dir), { code: 'DOWNLOAD_FAILED' });
  t.true(error.message.includes(`expected md5 ${expected}, got ${md5}`));
  t.deepEqual(await readdir(dir), []);
});

test('a refusal is final and told', async (t) => {
  const { archive, dir, requests } = await serve(t, (_, response) => response.writeHead(404).end('no'));
  await t.throwsAsync(downloadArchive(archive, dir), { code: 'DOWNLOAD_FAILED', message: /answered 404 Not Found/ });
  t.is(requests.length, 1);
});

test('no server at all is an error that says why', async (t) => {
  const archive = { ...cifar10Archive, url: 'http://127.0.0.1:1/x.tar.gz' };
  const dir = await mkdtemp(join(root, 'dir-'));
  await t.throwsAsync(downloadArchive(archive, dir), {
    code: 'DOWNLOAD_FAILED',
    message: /127\.0\.0\.1:1.*: fetch failed: ./,
  });
});

test('an abort stops the transfer with its reason, and the next call continues', async (t) => {
  let first = true;
  const { archive, dir, requests } = await serve(t, (request, response, from) => {
    if (!first) return whole(request, response, from);
    first = false;
    response.writeHead(200, { 'content-length': bytes.length });
    return response.write(bytes.subarray(0, 50_000));
  });
  const controller = new AbortController();
  const onProgress = ({ receivedBytes }: DownloadProgress) => {
    if (receivedBytes >= 50_000) controller.abort(new Error('enough'));
  };
  await t.throwsAsync(downloadArchive(archive, dir, { onProgress, signal: controller.signal }), { message: 'enough' });
  t.deepEqual(await readdir(dir), ['archive.tar.gz.part']);
  await downloadArchive(archive, dir);
  await complete(t, dir);
  t.deepEqual(requests, [undefined, 'bytes=50000-']);
});

test('an archive that is already there is used and left; a wrong one is refused and left', async (t) => {
  const { archive, dir, requests } = await serve(t, whole);
  await mkdir(dir);
  const path = join(dir, 'archive.tar.gz');
  await writeFile(path, bytes.subarray(1));
  await t.throwsAsync(downloadArchive(archive, dir), {
    code: 'DOWNLOAD_FAILED',
    message: /expected md5 .*: remove it/,
  });
  await writeFile(path, bytes);
  await downloadArchive(archive, dir);
  t.deepEqual((await readdir(dir)).sort(), ['archive.tar.gz', 'the-folder']);
  t.is(requests.length, 0);
});

test('a folder that is already there is never overwritten', async (t) => {
  const { archive, dir, requests } = await serve(t, whole);
  await mkdir(join(dir, 'the-folder'), { recursive: true });
  await t.throwsAsync(downloadArchive(archive, dir), { code: 'DOWNLOAD_FAILED', message: /exists already/ });
  t.is(requests.length, 0);
});

test('an archive that is none is an error without leftovers', async (t) => {
  const rubbish = 'no archive';
  const { archive, dir } = await serve(t, (_, response) => response.end(rubbish));
  const wrong = { ...archive, md5: createHash('md5').update(rubbish).digest('hex') };
  await t.throwsAsync(downloadArchive(wrong, dir), { code: 'DOWNLOAD_FAILED', message: /can't be unpacked/ });
  t.false(existsSync(join(dir, 'the-folder')));
  t.false((await readdir(dir)).some((name) => name.startsWith('.extract')));
});
