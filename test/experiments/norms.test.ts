import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { experiment as cifar } from '../../experiments/cifar.js';
import { experiment as bnLarge } from '../../experiments/cifar-bn-largebatch.js';
import { experiment as bnMicro } from '../../experiments/cifar-bn-microbatch.js';
import { experiment as gn } from '../../experiments/cifar-gn.js';
import { experiment as knLarge } from '../../experiments/cifar-kn-largebatch.js';
import { experiment as knMicro } from '../../experiments/cifar-kn-microbatch.js';
import { normNames } from '../../experiments/norms.js';
import { type Experiment, parseOptions, usage } from '../../experiments/options.js';
import { run } from '../../experiments/runner.js';
import { type NormSpec, reluGain } from '../../lib/index.js';
import { defaultStandardization } from '../../lib/models/norm-spec.js';

const refusal = (experiment: Experiment, ...args: string[]) => {
  try {
    parseOptions(experiment, args);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
};

test('the five experiments are presets of the general one', (t) => {
  const presets: [preset: Experiment, flags: string[], own: string[]][] = [
    [gn, ['--norm', 'group'], []],
    [bnMicro, ['--norm', 'batch', '--splits', '64'], []],
    [knMicro, ['--norm', 'kalman', '--splits', '64'], []],
    [knMicro, ['--norm', 'reference-kalman', '--splits', '64'], ['--preset', 'reference']],
    [bnLarge, ['--norm', 'batch', '-n', '18'], []],
    [knLarge, ['--norm', 'kalman', '-n', '18'], []],
    [knLarge, ['--norm', 'kalman', '-n', '18', '--preset', 'reference', '--gain', '0.95'], ['--preset', 'reference']],
  ];
  for (const [preset, flags, own] of presets) {
    const { name: _, logDir: __, label: ___, flags: ____, ...general } = parseOptions(cifar, flags)!;
    t.like(parseOptions(preset, own), general as object, preset.name);
  }
});

test('--norm: labels and folders tell runs apart', (t) => {
  const labelled = (...args: string[]) => {
    const { label, logDir } = parseOptions(cifar, args)!;
    return `${label} in ${logDir}`;
  };
  t.is(labelled(), 'KN, micro-batch 128 in train_log/cifar-kalman');
  t.is(labelled('--norm', 'batch', '--splits', '64'), 'BN, micro-batch 2 in train_log/cifar-batch');
  t.is(labelled('--norm', 'group', '--weight-standardization'), 'WS + GN in train_log/cifar-group');
  t.is(labelled('--norm', 'frn'), 'FRN + TLU in train_log/cifar-frn');
  t.like(parseOptions(cifar, ['--norm', 'evonorm', '--groups', '8']), { norm: { type: 'evonorm', groups: 8 } });
  t.is(labelled('--norm', 'batch-renorm', '--splits', '64'), 'BRN, micro-batch 2 in train_log/cifar-batch-renorm');
  t.like(parseOptions(cifar, ['--norm', 'batch-renorm', '--r-max', '2', '--d-max', '0']), {
    norm: { type: 'batch-renorm', rMax: 2, dMax: 0 },
  });
  t.is(parseOptions(gn, ['--weight-standardization'])?.label, 'WS + GN');
  const mabn = ['--norm', 'mabn', '--splits', '64'];
  t.is(labelled(...mabn), 'MABN, micro-batch 2 in train_log/cifar-mabn');
  t.like(parseOptions(cifar, [...mabn, '--window', '8']), { norm: { type: 'mabn', splits: 64, window: 8 } });
  t.is(labelled('--norm', 'normalizer-free'), 'NF in train_log/cifar-normalizer-free');
  t.like(parseOptions(cifar, ['--norm', 'normalizer-free', '--alpha', '0.5', '--agc', '0.1']), {
    norm: { type: 'normalizer-free', alpha: 0.5 },
    agc: 0.1,
  });
  t.is(labelled('--norm', 'group-kalman', '--groups', '8', '--gain', '0.2'), 'GKN in train_log/cifar-group-kalman');
  t.is(parseOptions(cifar, [...mabn, '--weight-standardization'])?.label, 'WS + MABN, micro-batch 2');
});

test('--weight-standardization: as in the paper, or with a gain', (t) => {
  const standardization = (...args: string[]) => parseOptions(cifar, args)?.weightStandardization;
  t.is(standardization(), false);
  t.is(standardization('--norm', 'mabn'), 'centered');
  t.is(standardization('--norm', 'normalizer-free'), reluGain);
  t.is(standardization('--norm', 'mabn', '--weight-standardization'), true);
  t.is(standardization('--weight-standardization'), true);
  t.is(standardization('--weight-standardization', '--filter-gain', '1.5'), 1.5);
});

test('what doesn’t fit a normalization is refused, with the nearest name there is', (t) => {
  t.regex(
    refusal(cifar, '--norm', 'grup') ?? '',
    /--norm: expected one of batch, .*, got "grup"; did you mean group\?$/,
  );
  t.regex(refusal(cifar, '--norm', 'unheard-of') ?? '', /got "unheard-of"$/);
  t.is(refusal(gn, '--norm', 'group'), '--norm has no meaning for cifar-gn');
  t.is(refusal(cifar, '--norm', 'group', '--splits', '2'), '--splits has no meaning for cifar with --norm group');
  t.is(refusal(cifar, '--norm', 'layer', '--groups', '2'), '--groups has no meaning for cifar with --norm layer');
  t.regex(refusal(cifar, '--norm', 'batch', '--gain', '1') ?? '', /--gain has no meaning for cifar with --norm batch/);
  t.regex(refusal(cifar, '--groups', '2') ?? '', /--groups has no meaning for cifar with --norm kalman and --preset/);
  t.regex(refusal(cifar, '--norm', 'group', '--groups', '3') ?? '', /--groups: expected a divisor of 16, got "3"/);
  t.regex(refusal(cifar, '--norm', 'reference-kalman', '--preset', 'corrected') ?? '', /--preset: expected reference/);
  t.regex(
    refusal(cifar, '--norm', 'batch', '--r-max', '2') ?? '',
    /--r-max has no meaning for cifar with --norm batch/,
  );
  t.regex(refusal(cifar, '--norm', 'batch-renorm', '--r-max', '0.5') ?? '', /--r-max: expected a number of at least 1/);
  t.regex(refusal(cifar, '--norm', 'batch-renorm', '--d-max=-1') ?? '', /--d-max: expected a number of at least 0/);
  t.regex(refusal(cifar, '--norm', 'normalizer-free', '--alpha', '0') ?? '', /--alpha: expected a positive number/);
  t.regex(refusal(cifar, '--agc=-1') ?? '', /--agc: expected a positive number, got "-1"/);
  t.regex(refusal(cifar, '--norm', 'mabn', '--window', '1') ?? '', /--window: expected a whole number of at least 2/);
  t.regex(refusal(cifar, '--norm', 'batch-channel', '--groups', '3') ?? '', /--groups: expected a divisor of 16/);
  t.regex(refusal(gn, '--filter-gain', '1') ?? '', /no meaning without --weight-standardization/);
  t.regex(refusal(gn, '--weight-standardization', '--filter-gain', '0') ?? '', /--filter-gain: expected a positive/);
});

test('help shows the flags of the normalization that is asked for', (t) => {
  t.regex(usage(cifar), /--norm VALUE .*batch, group.*; default: kalman$/m);
  t.notRegex(usage(gn), /--norm /);
  t.regex(usage(cifar, ['--help', '--norm', 'batch']), /--splits/);
  t.notRegex(usage(cifar, ['--norm', 'batch']), /--correction/);
  t.regex(usage(cifar, ['--norm', 'group']), /--groups VALUE .*default: 4$/m);
});

test('--accumulate: averages move as far by the parts as by the batch', (t) => {
  const parts = (...args: string[]) => parseOptions(cifar, ['--accumulate', '4', ...args])!;
  const left = (rate: number) => (1 - rate) ** 4;
  const kalman = parts('--norm', 'kalman', '--correction', '0.3').norm;
  t.is(kalman.type, 'kalman');
  for (const [name, rate] of Object.entries({ momentum: 0.1, correction: 0.3, adaptation: 0.1 })) {
    const own = (kalman as unknown as Record<string, number>)[name]!;
    t.true(Math.abs(left(own) - (1 - rate)) < 1e-12, `${name} ${own}`);
  }
  const { momentum: _, ...filtered } = kalman as unknown as Record<string, number>;
  const grouped = parts('--norm', 'group-kalman', '--correction', '0.3').norm;
  t.like(grouped, { correction: filtered.correction, adaptation: filtered.adaptation });
  const { momentum } = kalman as { momentum: number };
  for (const name of ['batch', 'batch-renorm', 'batch-channel', 'reference-kalman']) {
    t.like(parts('--norm', name), { accumulate: 4, norm: { type: name, momentum } });
  }
  // MABN's averages move by micro-batches, however many a step has.
  t.deepEqual(parts('--norm', 'mabn').norm, parseOptions(cifar, ['--norm', 'mabn'])!.norm);
  t.deepEqual(parts('--norm', 'group').norm, parseOptions(cifar, ['--norm', 'group'])!.norm);
  t.is(parts('--norm', 'kalman').label, 'KN, micro-batch 32');
  t.regex(refusal(cifar, '--accumulate', '3') ?? '', /--accumulate: expected a divisor of the batch size 128, got 3/);
  t.regex(refusal(knMicro, '--accumulate', '64') ?? '', /--splits: .* 128 in 64 parts, got 64/);
});

test.serial('--accumulate trains', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-norms-'));
  try {
    t.is(await run(parseOptions(cifar, [...small, '--accumulate', '8', '--epochs', '1', '--log_dir', folder])!), 0);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.serial('--agc trains', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-norms-'));
  try {
    const flags = ['--norm', 'normalizer-free', '--agc', '0.01', '--epochs', '1', '--log_dir', folder];
    t.is(await run(parseOptions(cifar, [...small, ...flags])!), 0);
  } finally {
    await rm(folder, { recursive: true });
  }
});

const small = ['--dataset', 'synthetic', '-n', '1', '--limit-train', '32', '--limit-test', '16', '--batch-size', '16'];

for (const name of normNames) {
  for (const standardized of [false, true]) {
    test.serial(`--norm ${name}${standardized ? ' --weight-standardization' : ''} trains`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-norms-'));
      try {
        const flags = [...(standardized ? ['--weight-standardization'] : []), '--epochs', '1', '--log_dir', folder];
        t.is(await run(parseOptions(cifar, [...small, '--norm', name, ...flags])!), 0);
        const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trim().split('\n');
        const own = defaultStandardization({ type: name } as NormSpec);
        const filters = (standardized && typeof own !== 'number') || own;
        t.like(JSON.parse(lines[0]!), { norm: { type: name }, weightStandardization: filters });
        t.true(Number.isFinite(JSON.parse(lines[1]!).validationLoss));
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }
}
