import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { SEED, TestRandom } from '../support/random.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-resume-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

/** Where the run trains; KN_RESUME_DEVICE for another. */
const DEVICE = process.env.KN_RESUME_DEVICE ?? 'cpu';
const FLAGS = ['--dataset', 'synthetic', '--device', DEVICE, '-n', '1', '--batch-size', '16', '--splits', '8'];
const SIZE = ['--limit-train', '32', '--limit-test', '16', '--threads', '1', '--epochs', '4', '--lr', '0.05'];

/** How often the run is killed; KN_RESUME_KILLS for more. */
const KILLS = Number(process.env.KN_RESUME_KILLS ?? 8);

/** Runs an experiment; it is killed `after` milliseconds from when it has its folder. `took`: from then to its end. */
function experiment(
  args: readonly string[],
  after: number | null = null,
): Promise<{ code: number | null; text: string; took: number }> {
  const command = ['--import=tsx', 'experiments/cifar-kn-microbatch.ts', ...args];
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let began: number | null = null;
  const note = (chunk: Buffer) => {
    text += String(chunk);
    if (began !== null || !text.includes('writing to')) return;
    began = performance.now();
    if (after !== null) setTimeout(() => child.kill('SIGKILL'), after);
  };
  child.stdout.on('data', note);
  child.stderr.on('data', note);
  return new Promise((resolve) =>
    child.on('close', (code) => resolve({ code, text, took: performance.now() - (began ?? Number.NaN) })),
  );
}

/** The log without times and memory, and the weights. */
async function resultOf(folder: string): Promise<unknown> {
  const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trimEnd().split('\n');
  const records = lines.map((line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    for (const own of ['seconds', 'imagesPerSecond', 'peakMemory', 'residentMemory', 'logDir']) delete record[own];
    return record;
  });
  const models = await Promise.all(
    ['model', 'best'].map(async (name) => (await readFile(join(folder, `${name}.safetensors`))).toString('hex')),
  );
  return { records, models };
}

const whole = (async () => {
  const folder = join(root, 'whole');
  const { took } = await experiment([...FLAGS, ...SIZE, '--log_dir', folder]);
  return { result: await resultOf(folder), took };
})();

test('a run that is killed at any moment and resumed is the run that was never stopped', async (t) => {
  const { result: expected, took } = await whole;
  const random = new TestRandom('resume');
  t.log(`KN_TEST_SEED=${SEED}`);
  const folder = join(root, 'killed');
  let kills = 0;
  // The first comes at once, the others at random moments; how many come before the run's end depends on the machine's load.
  for (let run = 0; run < 5 * KILLS && kills < KILLS; run++) {
    await rm(folder, { recursive: true, force: true });
    const moment = run === 0 ? 0 : random.below(took);
    let { code } = await experiment([...FLAGS, ...SIZE, '--log_dir', folder], moment);
    for (let tries = 0; code !== 0 && tries < 5; tries++) {
      kills++;
      ({ code } = await experiment(['--resume', folder], random.below(took)));
    }
    if (code !== 0) ({ code } = await experiment(['--resume', folder]));
    t.is(code, 0);
    t.deepEqual(await resultOf(folder), expected, `after ${kills} kills`);
  }
  t.log(`${kills} kills`);
  t.true(kills > 0);
});

test('resuming: a damaged checkpoint, a torn log, changed flags', async (t) => {
  const { result: expected } = await whole;
  const folder = join(root, 'changed');
  await experiment([...FLAGS, ...SIZE, '--log_dir', folder]);
  const checkpoints = join(folder, 'checkpoints');
  const [, newest] = (await readdir(checkpoints)).sort();
  await truncate(join(checkpoints, newest as string), 1000);
  await appendFile(join(folder, 'log.jsonl'), '{"type":"epo');

  const refused = await experiment(['--resume', folder, '--lr', '0.2', '--seed', '1']);
  t.is(refused.code, 1);
  t.regex(refused.text, /--lr is 0\.05 in the run, got 0\.2; --seed is not given in the run, got 1/);
  const other = await experiment(['--resume', join(root, 'nowhere')]);
  t.regex(other.text, /there is no run in .*nowhere/);
  const both = await experiment(['--resume', folder, '--log_dir', folder]);
  t.regex(both.text, /--resume names the folder/);

  // A repeated flag is no change.
  const resumed = await experiment(['--resume', folder, '--lr', '0.05']);
  t.is(resumed.code, 0, resumed.text);
  t.regex(resumed.text, /going on from an earlier checkpoint: .*step-/);
  t.regex(resumed.text, /going on behind epoch 3/);
  t.deepEqual(await resultOf(folder), expected);

  const longer = await experiment(['--resume', folder, '--epochs', '5', '--force']);
  t.is(longer.code, 0, longer.text);
  t.regex(longer.text, /epoch 5\/5/);
});
