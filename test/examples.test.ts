import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { BatchNorm1d, Linear, openDevice, Sequential, saveModel } from '../lib/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));

const programs = (await readdir(`${root}/examples`)).filter((file) => file.endsWith('.ts'));
for (const file of programs) {
  test(`examples/${file} is short`, async (t) => {
    const lines = (await readFile(`${root}/examples/${file}`, 'utf8')).trimEnd().split('\n');
    t.true(lines.length < 60, `${lines.length} lines`);
  });
}

/** Runs an example with a temporary folder of its own; what it prints. */
async function run(t: ExecutionContext, example: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-example-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import=tsx', `examples/${example}`], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
  });
  t.log(stdout);
  return stdout;
}

test('examples/own-dataset.ts learns, saves and recognizes', async (t) => {
  const stdout = await run(t, 'own-dataset.ts');
  const losses = [...stdout.matchAll(/loss (\d\.\d+)/g)].map(([, loss]) => Number(loss));
  t.is(losses.length, 6);
  t.true(losses.at(-1)! < 0.6 * losses[0]!, `${losses}`);
  t.regex(stdout, /80 images of 2 classes.*Classes: lying, upright\./);
  const [, guess, right] = /the first validation image: (\w+) \((\w+) is right\)/.exec(stdout) ?? [];
  t.is(guess, right);
});

test('examples/own-network.ts learns, saves, and another process recognizes', async (t) => {
  const stdout = await run(t, 'own-network.ts');
  const losses = /losses: ([\d.,]+)/.exec(stdout)?.[1]?.split(',').map(Number) ?? [];
  t.is(losses.length, 5);
  t.true(losses[4]! < 0.5 * losses[0]!, `${losses}`);
  const answers = [...stdout.matchAll(/a new (\w+): a (\w+), it says/g)];
  t.deepEqual(
    answers.map(([, drawn]) => drawn),
    ['disc', 'ring', 'cross', 'disc', 'ring', 'cross'],
  );
  t.true(answers.filter(([, drawn, said]) => drawn === said).length >= 5);
});

/** Whether there is a Python with NumPy. */
const hasNumpy = spawnSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' }).status === 0;

(hasNumpy ? test : test.skip)('examples/read-weights.py reads model files (needs python3 with numpy)', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-example-'));
  t.teardown(() => rm(folder, { recursive: true }));
  using device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Linear(device, 3, 2), new BatchNorm1d(device, 2));
  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    net.parameters()[0]?.write(Float32Array.of(1, 2, 4, 8, 16, 32));
    const path = join(folder, `${dtype}.safetensors`);
    await saveModel(path, net, { classNames: ['a', 'b'], dtype });
    const { stdout } = await promisify(execFile)('python3', ['examples/read-weights.py', path], { cwd: root });
    t.regex(stdout, /^layers\.0\.weight \[3, 2\] float(16|32) mean 10\.500000$/m);
    t.regex(stdout, /^layers\.1\.runningVariance \[2\] float32 mean 1\.000000$/m);
    t.regex(stdout, /^Sequential \['a', 'b'\]$/m);
    t.regex(stdout, /^PyTorch(: 6 tensors, 16 values| isn't installed)$/m);
  }
});
