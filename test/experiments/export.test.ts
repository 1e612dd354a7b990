import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { experiment as cifar } from '../../experiments/cifar.js';
import { main } from '../../experiments/export.js';
import { parseOptions } from '../../experiments/options.js';
import { run } from '../../experiments/runner.js';
import { loadModel, openDataset, openDevice } from '../../lib/index.js';
import { runOnnx } from '../support/onnx-runtime.js';

test('export: the network of a run, in ONNX Runtime as here', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-export-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const flags = [
    '--dataset',
    'synthetic',
    '-n',
    '1',
    '--limit-train',
    '64',
    '--limit-test',
    '48',
    '--batch-size',
    '16',
  ];
  const more = ['--norm', 'kalman', '--splits', '8', '--threads', '1', '--epochs', '2', '--log_dir', folder];
  t.is(await run(parseOptions(cifar, [...flags, ...more])!), 0);

  const printed: string[] = [];
  const file = join(folder, 'model.onnx');
  t.is(await main([folder, file, '--pixels'], (line) => printed.push(line)), 0);
  t.regex(printed.join(), /CifarResNet, \d+ parameters, \d+ bytes/);

  const { images } = (await openDataset({ name: 'synthetic' })).test;
  await using device = openDevice('cpu', { threads: 1 });
  await using model = await loadModel(join(folder, 'model.safetensors'), { device });
  const count = 16;
  const pixels = images.subarray(0, count * model.inputSize);
  const theirs = await runOnnx(new Uint8Array(await readFile(file)), Float32Array.from(pixels), [count, 3, 32, 32]);
  for (let i = 0; i < count; i++) {
    const ours = await model.predict(pixels.subarray(i * model.inputSize, (i + 1) * model.inputSize));
    const classes = ours.length;
    const row = Array.from(theirs.data.subarray(i * classes, (i + 1) * classes));
    // Two sums in float32, in other orders.
    for (const [c, logit] of row.entries()) t.true(Math.abs(logit - (ours[c] as number)) < 1e-4);
    t.is(row.indexOf(Math.max(...row)), Array.from(ours).indexOf(Math.max(...ours)));
  }
});

test('export: what is wrong is told', async (t) => {
  const nowhere = join(tmpdir(), 'kalman-norm-nowhere');
  for (const args of [[], [nowhere], [nowhere, 'a.onnx'], [nowhere, 'a', 'b'], ['--pixel', nowhere, 'a.onnx']]) {
    t.is(await main(args, () => {}), 1, args.join(' '));
  }
  t.is(await main(['--help'], (text) => t.regex(text, /RUN_DIR OUT\.onnx/)), 0);
});
