import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { EventFile } from '../../experiments/tensorboard.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-events-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

test('an event file, byte for byte', async (t) => {
  const folder = await mkdtemp(join(root, 'bytes-'));
  const events = await EventFile.create(folder, 1_500);
  await events.scalars(300, { 'loss/train': 0.5, gone: null }, 2_000);
  const [name] = await readdir(folder);
  t.regex(name ?? '', /^events\.out\.tfevents\.0000000001\./);
  const bytes = await readFile(join(folder, name as string));
  const hex = (from: number, length: number) => bytes.subarray(from, from + length).toString('hex');
  // Written down from event.proto: wall_time, file_version; wall_time, step, summary { value { tag, simple_value } }.
  const first = `09${'000000000000f83f'}1a0d${Buffer.from('brain.Event:2').toString('hex')}`;
  const value = `0a0a${Buffer.from('loss/train').toString('hex')}150000003f`;
  const second = `09${'0000000000000040'}10ac022a130a11${value}`;
  t.is(hex(0, 8), '1800000000000000');
  t.is(hex(12, 24), first);
  t.is(hex(40, 8), '2100000000000000');
  t.is(hex(52, 33), second);
  t.is(bytes.length, 89);
  // Masked CRC-32C of the lengths, by TensorFlow's own writer.
  t.is(hex(8, 4), 'a37f4b22');
});

/** A Python that has TensorBoard, or null. */
function python(): string | null {
  const command = process.env.KN_TENSORBOARD_PYTHON ?? 'python3';
  try {
    execFileSync(command, ['-c', 'import tensorboard'], { stdio: 'ignore' });
    return command;
  } catch {
    return null;
  }
}

const interpreter = python();
(interpreter ? test : test.skip)("TensorBoard's own reader (needs the Python package tensorboard)", async (t) => {
  const folder = await mkdtemp(join(root, 'reader-'));
  const events = await EventFile.create(folder);
  for (const step of [1, 200, 2 ** 33]) await events.scalars(step, { a: step / 3, 'b/c': step === 200 ? null : -step });
  const ramp = Array.from({ length: 128 }, (_, i) => i / 64);
  await events.histograms(
    7,
    new Map([
      ['ramp', [...ramp, Number.NaN]],
      ['same', [0.5, 0.5]],
      ['none', [Number.NaN]],
    ]),
  );
  const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
histograms = {}
for tag in events.Tags()['histograms']:
    [e] = events.Histograms(tag); h = e.histogram_value
    histograms[tag] = [e.step, h.min, h.max, h.num, h.sum, h.sum_squares, list(h.bucket_limit), list(h.bucket)]
scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}
print(json.dumps([scalars, histograms]))`;
  const [read, histograms] = JSON.parse(
    execFileSync(interpreter as string, ['-c', script, folder], { encoding: 'utf8' }),
  );
  t.deepEqual(read, {
    a: [1, 200, 2 ** 33].map((step) => [step, Math.fround(step / 3)]),
    'b/c': [1, 2 ** 33].map((step) => [step, -step]),
  });
  t.deepEqual(histograms, {
    ramp: [
      7,
      0,
      127 / 64,
      128,
      127,
      ramp.reduce((sum, value) => sum + value * value, 0),
      Array.from({ length: 64 }, (_, i) => ((i + 1) * 127) / 64 / 64),
      Array.from({ length: 64 }, () => 2),
    ],
    same: [7, 0.5, 0.5, 2, 1, 0.5, [0.5], [2]],
  });
});
