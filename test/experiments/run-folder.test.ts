import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { RunFolder } from '../../experiments/run-folder.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-run-folder-'));
test.after.always(() => rm(root, { recursive: true, force: true }));
let count = 0;
const name = () => join(root, `run-${count++}`);

const config = { type: 'config', name: 'x' };
const epoch = (number: number) => ({ type: 'epoch', epoch: number });

test('an earlier run is moved aside, or deleted where that is wanted', async (t) => {
  const path = name();
  const first = await RunFolder.create(path);
  await first.write(config);
  await first.release();
  const moves: string[][] = [];
  const onMove = (...move: string[]) => moves.push(move);
  const second = await RunFolder.create(path, { onMove });
  t.deepEqual(moves, [[path, `${path}.1`]]);
  t.is(await readFile(join(`${path}.1`, 'log.jsonl'), 'utf8'), `${JSON.stringify(config)}\n`);
  await second.write(config);
  await second.release();
  await RunFolder.create(path, { overwrite: true, onMove });
  t.is(moves.length, 1);
  t.deepEqual(await readdir(path), ['run.lock']);
});

test('an earlier run is moved aside whatever its path ends with; not from under the process that stands in it', async (t) => {
  const path = name();
  for (let i = 0; i < 2; i++) {
    const folder = await RunFolder.create(`${path}/`);
    await folder.write(config);
    await folder.release();
  }
  t.deepEqual((await readdir(root)).filter((entry) => join(root, entry).startsWith(path)).length, 2);
  const before = process.cwd();
  process.chdir(path);
  try {
    await t.throwsAsync(RunFolder.create('.'), {
      code: 'INVALID_ARGUMENT',
      message: /can't be moved aside while you are in it; name another folder/,
    } as object);
  } finally {
    process.chdir(before);
  }
});

test('a second process is refused, with the number of the first', async (t) => {
  const path = name();
  const folder = await RunFolder.create(path);
  await folder.write(config);
  const refused = { code: 'INVALID_STATE', message: new RegExp(`in use by process ${process.pid} on`) } as object;
  await t.throwsAsync(RunFolder.create(path), refused);
  await t.throwsAsync(RunFolder.create(path, { overwrite: true }), refused);
  await t.throwsAsync(RunFolder.reopen(path), refused);
  await folder.release();
  await t.notThrowsAsync(RunFolder.reopen(path));
});

test('only one of many that come at once gets the folder', async (t) => {
  const path = name();
  await (await RunFolder.create(path)).release();
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => RunFolder.create(path)));
  t.is(tries.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('the lock of a process that is gone is stale, whoever has its number now', async (t) => {
  const path = name();
  await (await RunFolder.create(path)).write(config);
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.on('exit', resolve));
  const host = hostname();
  for (const owner of [
    { pid: child.pid, host, began: '1' },
    // This process began at another time.
    { pid: process.pid, host, began: '1' },
  ]) {
    await writeFile(join(path, 'run.lock'), JSON.stringify(owner));
    await (await RunFolder.reopen(path)).release();
  }
  await writeFile(join(path, 'run.lock'), JSON.stringify({ pid: 1, host: 'elsewhere', began: null }));
  await t.throwsAsync(RunFolder.reopen(path), { message: /in use by process 1 on elsewhere/ });
});

test('a log is cut to the epochs of a checkpoint', async (t) => {
  const path = name();
  const folder = await RunFolder.create(path);
  for (const entry of [config, epoch(1), epoch(2), epoch(3), { type: 'end', reason: 'interrupted', epoch: 3 }]) {
    await folder.write(entry);
  }
  await appendFile(join(path, 'log.jsonl'), '{"type":"ep');
  await folder.rewind(2);
  const lines = [config, epoch(1), epoch(2)].map((entry) => `${JSON.stringify(entry)}\n`);
  t.is(await readFile(join(path, 'log.jsonl'), 'utf8'), lines.join(''));
});

test('what is no folder of a run is refused before anything is done', async (t) => {
  await t.throwsAsync(RunFolder.reopen(name()), { code: 'FILE_NOT_FOUND', message: /there is no run in/ } as object);
  const file = name();
  await writeFile(file, '');
  await t.throwsAsync(RunFolder.create(join(file, 'below')), { message: /--log_dir: .* can't be used/ });
});
