/**
 * Training steps of the CIFAR network with batch normalization in TensorFlow.js on its WebAssembly backend: a child
 * process of tfjs.ts. Writes one line of JSON: {version, threads, seconds}, {version, error} or {missing}.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';

const { folder, threads, n, batch, size, turns } = JSON.parse(process.argv[2]);
// Libraries greet on standard output, which is for the answer alone.
console.log = console.info = console.warn = console.error;
const answer = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);

const require = createRequire(join(folder, 'package.json'));
let tf;
let wasm;
try {
  tf = require('@tensorflow/tfjs');
  wasm = require('@tensorflow/tfjs-backend-wasm');
} catch (error) {
  answer({ missing: error.message.split('\n')[0] });
}
if (tf && wasm) {
  try {
    answer(await measure());
  } catch (error) {
    answer({ version: tf.version.tfjs, error: error.message.split('\n')[0] });
  }
}

async function measure() {
  if (threads > 0) wasm.setThreadsCount(threads);
  await tf.setBackend('wasm');
  await tf.ready();
  const images = tf.randomNormal([batch, size, size, 3]);
  const labels = tf.oneHot(
    tf.tensor1d(
      Array.from({ length: batch }, (_, i) => i % 10),
      'int32',
    ),
    10,
  );
  const network = makeNetwork();
  const optimizer = tf.train.momentum(1e-4, 0.9);
  const step = () => optimizer.minimize(() => tf.losses.softmaxCrossEntropy(labels, network(images)), true);
  const run = async () => {
    const loss = step();
    await loss.data();
    loss.dispose();
  };
  await run();
  const seconds = [];
  for (let turn = 0; turn < turns; turn++) {
    const begin = performance.now();
    await run();
    seconds.push((performance.now() - begin) / 1000);
  }
  return { version: tf.version.tfjs, threads: wasm.getThreadsCount(), seconds };
}

/** The pre-activation residual network; a function of the images that uses variables of its own. */
function makeNetwork() {
  const filter = (inputs, outputs) =>
    tf.variable(tf.randomNormal([3, 3, inputs, outputs], 0, Math.sqrt(2 / (9 * outputs))));
  const norm = (channels) => {
    const gamma = tf.variable(tf.ones([channels]));
    const beta = tf.variable(tf.zeros([channels]));
    return (x) => {
      const { mean, variance } = tf.moments(x, [0, 1, 2]);
      return tf.relu(tf.batchNorm(x, mean, variance, beta, gamma, 1e-5));
    };
  };
  const block = (inputs, outputs, first) => {
    const norm1 = first ? (x) => x : norm(inputs);
    const conv1 = filter(inputs, outputs);
    const norm2 = norm(outputs);
    const conv2 = filter(outputs, outputs);
    const stride = inputs === outputs ? 1 : 2;
    return (x) => {
      const branch = tf.conv2d(norm2(tf.conv2d(norm1(x), conv1, stride, 'same')), conv2, 1, 'same');
      if (stride === 1) return tf.add(x, branch);
      const pad = inputs / 2;
      const pooled = tf.avgPool(x, 2, 2, 'valid');
      return tf.add(
        tf.pad(pooled, [
          [0, 0],
          [0, 0],
          [0, 0],
          [pad, pad],
        ]),
        branch,
      );
    };
  };
  const conv0 = filter(3, 16);
  const norm0 = norm(16);
  const blocks = [16, 32, 64].flatMap((channels, stage) =>
    Array.from({ length: n }, (_, i) => {
      const inputs = stage > 0 && i === 0 ? channels / 2 : channels;
      return block(inputs, channels, stage === 0 && i === 0);
    }),
  );
  const normLast = norm(64);
  const matrix = tf.variable(tf.randomNormal([64, 10], 0, 0.2));
  const bias = tf.variable(tf.zeros([10]));
  return (images) => {
    let x = norm0(tf.conv2d(images, conv0, 1, 'same'));
    for (const forward of blocks) x = forward(x);
    return tf.add(tf.matMul(tf.mean(normLast(x), [1, 2]), matrix), bias);
  };
}
