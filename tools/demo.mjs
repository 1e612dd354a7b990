/**
 * `npm run demo`: sets up what is missing, trains KN, BN and GN with micro-batches of 2, and BN with whole batches of 128
 * for comparison, on real images, at most three minutes on two cores; and draws their validation curves into one report.
 *
 * The flags of the experiments may follow (`npm run demo -- --epochs 3 -n 2`); `--log_dir` is the folder of it all.
 */

import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, relative, resolve } from 'node:path';
import util from 'node:util';
import { ensureBuild } from './native-build.mjs';
import { run, runScript, SetupError, say } from './process.mjs';
import { ensureNode, ensureNpmPackages } from './setup.mjs';
import { ensureSystemPackages } from './system-packages.mjs';

const CIFAR_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz';
const REACHABLE_WITHIN_MS = 5000;

/** Small enough for a few minutes on two cores, large enough for the curves to separate. */
const DEFAULTS = {
  n: '1',
  epochs: '5',
  schedule: 'short',
  'limit-train': '10000',
  'limit-test': '2000',
  log_dir: 'train_log/demo',
};

const EXPERIMENTS = [
  { name: 'kn-microbatch', script: 'cifar-kn-microbatch', ignores: [] },
  { name: 'bn-microbatch', script: 'cifar-bn-microbatch', ignores: ['gain', 'preset'] },
  { name: 'gn', script: 'cifar-gn', ignores: ['gain', 'preset', 'splits'] },
  { name: 'bn-largebatch', script: 'cifar-bn-largebatch', ignores: ['gain', 'preset', 'splits'] },
];
/** Of what these are to be compared with: dashed in the chart. */
const REFERENCE = 'bn-largebatch';

const text = { type: 'string' };
const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  n: { type: 'string', short: 'n' },
  log_dir: text,
  gpu: text,
  device: text,
  dataset: text,
  'data-dir': text,
  epochs: text,
  'batch-size': text,
  splits: text,
  gain: text,
  preset: text,
  schedule: text,
  lr: text,
  seed: text,
  threads: text,
  'limit-train': text,
  'limit-test': text,
};

function usage() {
  const flags = Object.keys(OPTIONS).map((name) => (name.length === 1 ? `-${name}` : `--${name}`));
  const defaults = Object.entries(DEFAULTS).map(([name, value]) => `${name} ${value}`);
  return `Usage: npm run demo -- [flags of the experiments]\n  flags: ${flags.join(' ')}\n  defaults: ${defaults.join(', ')}`;
}

function readFlags(args) {
  try {
    return util.parseArgs({ args, options: OPTIONS }).values;
  } catch (error) {
    throw new SetupError(`${error.message}\n${usage()}`, 2);
  }
}

/** Which images to train on, and why those: `{ dataset, why, needData }`. */
async function chooseDataset(flags) {
  if (flags.dataset !== undefined) {
    // Only the package's own folder is ours to fill.
    const needData = flags.dataset === 'fashion-mnist' && flags['data-dir'] === undefined;
    return { dataset: flags.dataset, why: 'as --dataset says', needData };
  }
  if (flags['data-dir'] !== undefined) return { dataset: 'cifar10', why: `from ${flags['data-dir']}`, needData: false };
  const cached = cachedCifar();
  if (cached !== null) return { dataset: 'cifar10', why: `cached in ${cached}`, needData: false };
  say(`Looking whether CIFAR-10 can be downloaded (at most ${REACHABLE_WITHIN_MS / 1000} s) ...`);
  const problem = await unreachable(CIFAR_URL);
  if (problem === null) return { dataset: 'cifar10', why: `downloaded from ${CIFAR_URL}`, needData: false };
  return {
    dataset: 'fashion-mnist',
    why: `CIFAR-10 is neither given, cached nor reachable: ${problem}`,
    needData: true,
  };
}

/** Where an earlier run left CIFAR-10, or null. The same places as in lib/data, which can't be imported before the set-up. */
function cachedCifar() {
  const base = process.env.XDG_CACHE_HOME ?? '';
  const cache = join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'kalman-norm');
  const folders = [cache, join(cache, 'cifar-10-batches-bin')];
  return folders.find((folder) => existsSync(join(folder, 'data_batch_1.bin'))) ?? null;
}

/** Why this address can't be had, or null if it answers. */
async function unreachable(url) {
  try {
    const response = await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(REACHABLE_WITHIN_MS) });
    return response.ok ? null : `${new URL(url).host} answers ${response.status}`;
  } catch (error) {
    return error.name === 'TimeoutError'
      ? 'no answer in time'
      : error.cause?.message || error.cause?.code || error.message;
  }
}

/** `{ n: '1', epochs: '8' }` as `['-n', '1', '--epochs', '8']`. */
function asArguments(flags) {
  return Object.entries(flags).flatMap(([name, value]) => [name.length === 1 ? `-${name}` : `--${name}`, value]);
}

await runScript(async () => {
  ensureNode();
  const given = readFlags(process.argv.slice(2));
  if (given.help) {
    process.stdout.write(`${usage()}\n`);
    return 0;
  }
  const { dataset, why, needData } = await chooseDataset(given);
  await ensureSystemPackages({ needData, needFonts: true });
  await ensureNpmPackages();
  await ensureBuild();
  say(`Training images: ${dataset} (${why}).`);

  const device = given.gpu === undefined ? { device: 'cpu' } : {};
  const { log_dir: folder, ...flags } = { ...DEFAULTS, ...device, ...given, dataset };
  if (flags['data-dir'] !== undefined) flags['data-dir'] = resolve(flags['data-dir']);
  const base = resolve(folder);
  const runFolders = EXPERIMENTS.map(({ name }) => join(base, name));
  for (const [index, { name, script, ignores }] of EXPERIMENTS.entries()) {
    say(`\n[${index + 1}/${EXPERIMENTS.length}] ${name}`);
    const own = Object.fromEntries(Object.entries(flags).filter(([flag]) => !ignores.includes(flag)));
    const code = await experiment(script, [...asArguments(own), '--log_dir', runFolders[index]]);
    // By Ctrl-C or SIGTERM.
    if (code === 130 || code === 143) throw new SetupError(`Stopped. What was trained so far lies in ${base}.`, code);
    if (code !== 0) throw new SetupError(`${script} failed (exit status ${code}); its messages are above.`, code);
  }

  say('');
  const code = await experiment('report', [...runFolders, '--dashed', join(base, REFERENCE), '--out', base]);
  if (code !== 0) throw new SetupError(`The report failed (exit status ${code}); its messages are above.`, code);
  const pages = readdirSync(base).filter((name) => /\.(html|svg|png)$/.test(name));
  say(`\nThe report: ${pages.map((name) => join(relative(process.cwd(), base) || '.', name)).join(', ')}`);
  return 0;
});

function experiment(name, args) {
  return run(process.execPath, ['--import=tsx', `experiments/${name}.ts`, ...args]);
}
