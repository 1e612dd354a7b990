import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { experiment as cifar } from '../../experiments/cifar.js';
import { diagnose, main } from '../../experiments/diagnose.js';
import { figuresOf, type StepValues } from '../../experiments/diagnosis/figures.js';
import { rounded } from '../../experiments/diagnosis/measure.js';
import { parseOptions } from '../../experiments/options.js';
import { configurationOf } from '../../experiments/resume.js';
import { run } from '../../experiments/runner.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-diagnose-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const small = ['--dataset', 'synthetic', '-n', '1', '--limit-train', '64', '--limit-test', '16', '--batch-size', '16'];
const short = ['--splits', '8', '--threads', '1', '--epochs', '2', '--lr', '0.05'];

/** The folder of a short run. */
async function trained(name: string, flags: readonly string[]): Promise<string> {
  const folder = join(root, name);
  const configuration = parseOptions(cifar, [...small, ...short, ...flags, '--log_dir', folder]);
  if (!configuration || (await run(configuration)) !== 0) throw new Error(`${name} was not trained`);
  return folder;
}

/** One channel in two splits: the belief is N(mean, 4), the observations have these means and variance 3. */
function step(means: readonly [number, number], mean = 1, more: Partial<StepValues> = {}): StepValues {
  const belief = { mean: [mean], variance: [4] };
  return {
    prior: null,
    belief,
    observation: { mean: means, variance: [3, 3] },
    posterior: { mean: [mean, mean], variance: [4, 4] },
    gain: { mean: [0.25, 0.75], variance: [0.5] },
    dropped: false,
    ...more,
  };
}

const knowledge = { running: { mean: [3], variance: [8] }, epsilon: 0, adaptive: null, pooled: true };

test('figures: of a belief that is the population', (t) => {
  // Means 0 and 2 with variance 3 within: mean 1, variance 4.
  const figures = figuresOf([step([0, 2]), step([2, 0])], [], knowledge);
  t.deepEqual(figures.belief, { bias: 0, logRatio: 0, logError: 0 });
  t.is(figures.prior, null);
  t.is(figures.observation.bias, 0.5);
  t.is(figures.observation.logRatio, Math.log(3 / 4));
  t.is(figures.logLikelihood, 0);
  t.is(figures.innovation?.mean, 0.5);
  t.is(figures.innovation?.variance, -Math.log(3 / 4));
  t.is(figures.autocorrelation, null);
  t.is(figures.consistency, null);
  t.deepEqual(figures.gain, { mean: 0.5, variance: 0.5 });
  t.deepEqual(figures.running, { bias: 1, logRatio: Math.log(2), logError: Math.log(2) });
});

test('figures: a biased belief costs the divergence of two Gaussians, and trips the gate where it is sure', (t) => {
  const adaptive = { error: [-1], noise: [0.25], gate: 4 };
  const figures = figuresOf([step([0, 2], -1)], [], { ...knowledge, adaptive });
  t.is(figures.belief?.bias, 1);
  t.is(figures.logLikelihood, -0.5);
  // Innovations of 0.5 and 1.5 deviations; the gate opens beyond 1, and 0.25 is expected of their squares.
  t.is(figures.guardTrips, 0.5);
  t.is(figures.consistency, 5);
});

test('figures: a step whose prior was dropped is observed alone', (t) => {
  const figures = figuresOf([step([0, 2]), step([0, 2], 1, { dropped: true })], [], knowledge);
  t.is(figures.guardTrips, 0.5);
  t.is(figures.gain.mean, 0.75);
});

test('figures: innovations that persist correlate by 1, alternating ones by -1', (t) => {
  const of = (...means: number[]) =>
    figuresOf(
      [step([0, 2])],
      means.map((mean) => step([mean - 1, mean + 1])),
      knowledge,
    ).autocorrelation?.mean;
  t.is(of(2, 2, 2, 2), 1);
  t.is(of(2, 0, 2, 0), -1);
  t.is(of(2, 1, 2, 1), 0);
});

test.serial('diagnose: the corrected filter of a run', async (t) => {
  const folder = await trained('corrected', []);
  const { layers, ...rest } = await diagnose(folder, { steps: 3 });
  t.like(rest, { epoch: 2, step: 8, batches: 3 });
  t.deepEqual(
    layers.map(({ layer }) => layer),
    ['norm0', 'stage1.0.norm2', 'stage2.0.norm1', 'stage2.0.norm2', 'stage3.0.norm1', 'stage3.0.norm2', 'normLast'],
  );
  for (const figures of layers) {
    const { layer, prior, belief, posterior, logLikelihood, autocorrelation, gain, gradientNorm } = figures;
    t.is(prior === null, layer === 'norm0', layer);
    t.true(belief!.bias > 0 && posterior.bias > 0 && logLikelihood! < 0, layer);
    t.true(Math.abs(autocorrelation!.mean) <= 1 && Math.abs(autocorrelation!.variance) <= 1, layer);
    t.true(gain.mean > 0 && gain.mean < 1 && gradientNorm > 0, layer);
  }
  t.true(rest.gradientNorm > Math.max(...layers.map(({ gradientNorm }) => gradientNorm)));
  const file = await readFile(join(folder, 'diagnosis.json'), 'utf8');
  t.is(JSON.parse(file).layers[3].belief.bias, Number(layers[3]!.belief!.bias.toPrecision(4)));

  // The same again, and in words.
  const printed: string[] = [];
  t.is(await main([folder, '--steps', '3'], (line) => printed.push(line)), 0);
  t.is(await readFile(join(folder, 'diagnosis.json'), 'utf8'), file);
  t.regex(printed[0]!, /^after epoch 2, over 3 batches; norm of the gradients \d/);
  t.regex(printed[1]!, /\nnorm0 +– +– +\d\.\d{3} /);
});

test.serial('diagnose: a fixed gain is found, and its ends are belief and observation', async (t) => {
  for (const gain of [0, 0.3, 1]) {
    const { layers } = await diagnose(await trained(`gain-${gain}`, ['--gain', `${gain}`]), { steps: 2 });
    for (const { layer, belief, observation, posterior, ...figures } of layers) {
      t.true(Math.abs(figures.gain.mean - gain) < 1e-6 && Math.abs(figures.gain.variance - gain) < 1e-6, layer);
      t.is(figures.consistency, null);
      if (gain === 0.3) continue;
      const other = gain === 0 ? belief : observation;
      t.true(Math.abs(posterior.bias - other!.bias) < 1e-5 && Math.abs(posterior.logRatio - other!.logRatio) < 1e-5);
    }
  }
});

test.serial('diagnose: the reference filter, and parts of a batch one after the other', async (t) => {
  const reference = await diagnose(await trained('reference', ['--preset', 'reference']), { steps: 2 });
  t.deepEqual(
    reference.layers.map(({ belief, gain }) => (belief ? gain.mean.toFixed(3) : gain.mean)),
    [1, ...new Array(6).fill('0.100')],
  );
  for (const { prior, belief } of reference.layers) t.deepEqual(prior, belief);
  const parts = await diagnose(await trained('parts', ['--accumulate', '4', '--splits', '2']), { steps: 2 });
  t.true(parts.layers.every(({ belief }) => Number.isFinite(belief?.bias)));
});

/** The entries of a run's log, without what is a run's own. */
async function logOf(folder: string): Promise<Record<string, unknown>[]> {
  const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trimEnd().split('\n').slice(1);
  return lines.map((line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    for (const own of ['seconds', 'imagesPerSecond', 'peakMemory', 'residentMemory']) delete record[own];
    return record;
  });
}

for (const preset of ['corrected', 'reference']) {
  test.serial(`--diagnose: looks on without a trace in the training, ${preset}`, async (t) => {
    const flags = preset === 'reference' ? ['--preset', 'reference'] : [];
    const [plain, watched] = [
      await trained(`${preset}-plain`, flags),
      await trained(`${preset}-watched`, [...flags, '--diagnose']),
    ];
    for (const file of ['model.safetensors', 'best.safetensors', 'checkpoints/step-0000000008.safetensors']) {
      t.deepEqual(await readFile(join(watched, file)), await readFile(join(plain, file)), file);
    }
    const log = await logOf(watched);
    t.deepEqual(
      log.filter(({ type }) => type !== 'diagnosis'),
      await logOf(plain),
    );
    const seen = log.filter(({ type }) => type === 'diagnosis');
    t.deepEqual(
      seen.map(({ epoch, step }) => [epoch, step]),
      [
        [1, 4],
        [2, 8],
      ],
    );
    t.notDeepEqual(seen[0]?.layers, seen[1]?.layers);
    // What the command sees of the same moment: all of the few images, by the same steps.
    t.deepEqual(seen[1]?.layers, rounded((await diagnose(watched, { steps: 16 })).layers));
    const [events = ''] = (await readdir(watched)).filter((name) => name.startsWith('events'));
    t.true((await readFile(join(watched, events))).includes('bias of the posterior (σ)/stage2.0.norm1'));

    // Without its last checkpoint the run goes on from the one before, and sees the same again.
    await rm(join(watched, 'checkpoints/step-0000000008.safetensors'));
    t.is(await run((await configurationOf(cifar, ['--resume', watched]))!), 0);
    t.deepEqual(await logOf(watched), log);
  });
}

test.serial('diagnose: what is wrong is told', async (t) => {
  const folder = await trained('batch', ['--norm', 'batch']);
  await t.throwsAsync(diagnose(folder), {
    code: 'INVALID_ARGUMENT',
    message: 'RUN_DIR: a network with batch norm has no filter',
  } as object);
  t.throws(() => parseOptions(cifar, ['--norm', 'batch', '--diagnose']), {
    code: 'INVALID_ARGUMENT',
    message: '--diagnose: a network with batch norm has no filter',
  } as object);
  const nowhere = join(root, 'nowhere');
  await t.throwsAsync(diagnose(nowhere), { code: 'FILE_NOT_FOUND' } as object);
  for (const args of [[], [nowhere], [folder, '--steps', '0'], ['--step', 'x']]) t.is(await main(args, () => {}), 1);
});
