import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseLog } from '../../experiments/report/log.js';
import { readCurves } from '../../experiments/report/watch.js';
import { storedConfiguration } from '../../experiments/resume.js';
import { buildModel, openDevice, parseSafetensors, serializeSafetensors } from '../../lib/index.js';
import { digestOf, parseCheckpoint } from '../../lib/io/checkpoint.js';
import { parseModel } from '../../lib/io/model-file.js';
import { specs } from './specs.js';

// What the fuzzer found, or reading beside it, each as its smallest input.

const device = openDevice('cpu', { threads: 1 });
test.after.always(() => device.dispose());

const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
/** An object that throws where it is put into a text. */
const textless = '{"toString":1,"valueOf":1,"constructor":{"name":{"toString":1}}}';

function withHeader(header: string): Uint8Array {
  const bytes = new Uint8Array(8 + header.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(new TextEncoder().encode(header), 8);
  return bytes;
}

for (const value of [deep, textless, `"${'x'.repeat(10_000)}"`, `[${'1,'.repeat(10_000)}2]`]) {
  const title = `${value.slice(0, 20)}…`;
  test(`a header with ${title} for a value is refused in a short message`, (t) => {
    const headers = [
      `{"w":${value}}`,
      `{"w":{"dtype":${value},"shape":[],"data_offsets":[0,0]}}`,
      `{"w":{"dtype":"F32","shape":${value},"data_offsets":[0,0]}}`,
      `{"w":{"dtype":"F32","shape":[],"data_offsets":${value}}}`,
    ];
    for (const header of headers) {
      const error = t.throws(() => parseSafetensors(withHeader(header)), { code: 'FILE_CORRUPT' });
      t.true(error.message.length < 300, error.message);
    }
  });

  test(`a model file with ${title} for a value is refused in a short message`, (t) => {
    const file = (about: string) => () => parseModel(serializeSafetensors({}, { kalman_norm: about }), 'x', device);
    const input = (size: string) => `{"version":1,"architecture":null,"input":{"channels":${size}}}`;
    const spec = (of: string) => `{"version":1,"architecture":${of}}`;
    const errors = [
      t.throws(file(`{"version":${value}}`), { code: 'UNKNOWN_VERSION' }),
      t.throws(file(input(value)), { code: 'FILE_CORRUPT' }),
      t.throws(file(spec(`{"type":${value}}`)), { code: 'FILE_CORRUPT' }),
      t.throws(file(spec(`{"type":"AvgPool2d","size":${value}}`)), { code: 'FILE_CORRUPT' }),
    ];
    for (const { message } of errors) t.true(message.length < 800, message);
  });

  test(`a log with ${title} for a value is refused in a short message`, (t) => {
    const config = '{"type":"config"}';
    const logs = [
      `{"type":${value}}`,
      `${config}\n{"type":"epoch","epoch":${value}}\n`,
      `${config}\n{"type":"epoch","epoch":1,"step":1,"seconds":${value}}\n`,
      `${config}\n{"type":"end","reason":${value}}\n`,
      `${config}\n${value}\n\n`,
    ];
    for (const log of logs) {
      const error = t.throws(() => parseLog(log, 'run'), { code: 'FILE_CORRUPT' });
      t.true(error.message.length < 300, error.message);
    }
  });
}

test('a name of 10,000 letters stays out of messages', (t) => {
  const name = 'x'.repeat(10_000);
  const f32 = (begin: number) => `{"dtype":"F32","shape":[1],"data_offsets":[${begin},${begin + 4}]}`;
  for (const header of [`{"${name}":1}`, `{"${name}":${f32(0)}}`, `{"${name}":${f32(4)}}`]) {
    const error = t.throws(() => parseSafetensors(withHeader(header)), { code: 'FILE_CORRUPT' });
    t.true(error.message.length < 300);
  }
});

test('a log whose label is no text is called by its folder, and infinity is no figure', (t) => {
  const log = (label: string, seconds: string) =>
    `{"type":"config","label":${label}}\n{"type":"epoch","epoch":1,"step":1,"seconds":${seconds}}\n`;
  t.is(parseLog(log(textless, '1'), 'run').label, 'run');
  // Reports go through a configuration level by level.
  t.throws(() => parseLog(log(deep, '1'), 'run'), { code: 'FILE_CORRUPT', message: /16 levels/ });
  t.throws(() => parseLog(log('"a"', '1e999'), 'run'), { code: 'FILE_CORRUPT', message: /seconds: .* Infinity/ });
});

test('a run whose configuration is no configuration is refused, and has no curve yet', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-found-'));
  t.teardown(() => rm(folder, { recursive: true }));
  for (const config of ['null', '7', `{"type":"config","label":${textless},"flags":{"n":${textless}}}`]) {
    await writeFile(join(folder, 'log.jsonl'), `${config}\n`);
    await t.throwsAsync(storedConfiguration(folder), { code: 'FILE_CORRUPT' }, config);
    const [curve] = (await readCurves([folder])).curves;
    t.is(curve?.label, `a run (${folder})`);
  }
});

test('a checkpoint of the right digest may still be no checkpoint', (t) => {
  const read = (content: string) => () =>
    parseCheckpoint(
      serializeSafetensors({}, { 'kalman_norm.checkpoint': content, digest: digestOf(content, {}) }),
      'x',
      [],
    );
  t.is(read('{"version":1,"step":3}')().step, 3);
  for (const content of [
    '',
    '{',
    'null',
    '[]',
    '{"version":1}',
    '{"version":1,"step":-1}',
    `{"version":${textless}}`,
  ]) {
    t.throws(read(content), { code: 'FILE_CORRUPT' }, content);
  }
  t.throws(read('{"version":2,"step":3}'), { code: 'UNKNOWN_VERSION' });
});

for (const spec of specs) {
  test(`the values of ${JSON.stringify(spec)} are counted exactly before they are made`, (t) => {
    using model = buildModel(device, spec);
    const values = [...model.stateDict().values()].reduce((sum, { size }) => sum + size, 0);
    buildModel(device, spec, { maxValues: values }).dispose();
    t.throws(() => buildModel(device, spec, { maxValues: values - 1 }), { code: 'INVALID_ARGUMENT' });
  });
}
