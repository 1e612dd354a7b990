import type { Device } from '../../lib/index.js';
import type { PeerArguments } from '../support/arguments.js';
import { type Method, methods } from '../support/methods.js';
import { type Comparison, compare, type Summary, scaled, summarize } from '../support/statistics.js';
import { type Network, TrainingStep } from '../support/training-step.js';
import { batch, checkDepth, checkGrowth, checkMemory, type GoalCheck, names } from './goals.js';
import { type Candidate, interleave, type Result } from './interleave.js';
import { measureOurMemory } from './our-memory.js';
import { tryTfjs } from './tfjs.js';
import {
  type TorchMode,
  TorchPeer,
  torchBatchNormModes,
  torchGpuModes,
  torchKalmanModes,
  torchPlace,
} from './torch.js';

/** A line of a part's table. */
export interface Line extends Partial<Summary> {
  name: string;
  unit?: 'ms' | 'MiB';
  imagesPerSecond?: number;
  note?: string;
}

/** What a part of the run found. */
export interface Report {
  part: string;
  lines: Line[];
  /** Pairs of candidates: how often the first's time is the second's. */
  ratios: ({ pair: string } & Comparison)[];
  goals: GoalCheck[];
  /** Raw seconds of a step, round by round. */
  results: Result[];
}

/** What the parts share. */
export interface PeerContext {
  device: Device;
  options: PeerArguments;
  /** As many as the device has. */
  threads: number;
  /** Null where it's missing. */
  torch: TorchPeer | null;
  progress: (text: string) => void;
}

const splits = batch / 2;

/** PyTorch's candidates beside a device of ours. */
function torchModes({ device, precision }: PeerArguments): readonly TorchMode[] {
  const onCpu = torchPlace(device, precision).device === 'cpu';
  return onCpu ? [...torchBatchNormModes, ...torchKalmanModes] : torchGpuModes;
}

/** Our steps and PyTorch's at one depth, in turns. */
export async function depthPart(context: PeerContext, n: number): Promise<Report> {
  const own = methods(batch);
  const { candidates, lines, release } = await gather(
    context,
    [own.batchNorm, own.kalmanSampled, own.kalmanAnalytic, own.kalmanLargeSampled, own.kalmanLargeAnalytic].map(
      (method) => ({ method, network: { n } }),
    ),
    torchModes(context.options).filter(({ compile }) => !(compile && context.options.smoke)),
  );
  try {
    const results = await take(context, `n=${n}`, candidates);
    return {
      part: `n=${n}`,
      lines: [...results.map((result) => lineOf(result)), ...lines],
      ratios: pairsOf(results),
      // The goals are for the CPU.
      goals: context.options.device === 'cpu' ? checkDepth(n, results) : [],
      results,
    };
  } finally {
    await release();
  }
}

/** Our steps at n = 5 and n = 18, in turns. */
export async function growthPart(context: PeerContext): Promise<Report> {
  const own = methods(batch);
  const compared = [own.batchNorm, own.kalmanSampled, own.kalmanAnalytic];
  const [shallow, deep] = [5, 18];
  const { candidates, release } = await gather(
    context,
    compared.flatMap((method) => [
      { method, network: { n: shallow }, name: `${method.name} n=${shallow}` },
      { method, network: { n: deep }, name: `${method.name} n=${deep}` },
    ]),
    [],
  );
  try {
    const results = await take(context, 'growth', candidates);
    const goals = compared.map(({ name }, i) =>
      checkGrowth(
        name,
        { n: shallow, result: results[2 * i] as Result },
        { n: deep, result: results[2 * i + 1] as Result },
      ),
    );
    return { part: 'growth', lines: results.map((result) => lineOf(result)), ratios: [], goals, results };
  } finally {
    await release();
  }
}

/**
 * ResNet-50 on images of 224 × 224, eight a step: BN over all, PyTorch's too, and the corrected filter with
 * micro-batches of 4, the paper's on ImageNet.
 */
export async function resnet50Part(context: PeerContext): Promise<Report> {
  const { smoke } = context.options;
  const images = { batch: 8, size: smoke ? 32 : 224 };
  const network: Network = { depth: 50 };
  const { candidates, lines, release } = await gather(
    context,
    [
      { method: methods(batch).batchNorm, network },
      { method: { name: 'kn corrected S=2', norm: { type: 'kalman', splits: 2 } }, network },
    ],
    torchModes(context.options).filter(({ norm, compile }) => norm === 'bn' && !(compile && smoke)),
    images,
  );
  try {
    const results = await take(context, 'resnet50', candidates);
    return {
      part: 'resnet50',
      lines: [...results.map((result) => lineOf(result, images.batch)), ...lines],
      ratios: pairsOf(results),
      goals: [],
      results,
    };
  } finally {
    await release();
  }
}

/**
 * Peak memory of a step, each in a process of its own and above what the process had with its library loaded. PyTorch's
 * compiler isn't among them: it needs more memory than the step.
 */
export async function memoryPart(context: PeerContext): Promise<Report> {
  const { options, threads, progress } = context;
  const { smoke, device, precision } = options;
  const n = smoke ? 1 : 5;
  const size = imageSize(smoke);
  const own = methods(batch);
  const lines: Line[] = [];
  const used = (name: string, bytes: number) => lines.push({ name, unit: 'MiB', ...summarize([bytes / 2 ** 20]) });

  let ours = Number.NaN;
  const measured: Method[] = smoke ? [own.batchNorm] : [own.batchNorm, own.kalmanSampled, own.kalmanAnalytic];
  for (const { name, norm } of measured) {
    for (const eager of [false, true]) {
      progress(`memory: ${name}`);
      const use = await measureOurMemory({ device, precision, threads, n, norm, batch, size, eager });
      used(`${name} ${eager ? 'eager' : 'replayed'}`, use.peak - use.baseline);
      if (norm.type === 'batch' && !eager) ours = use.peak - use.baseline;
    }
  }
  const theirs: { name: string; bytes: number }[] = [];
  const modes = [...torchBatchNormModes, ...(smoke ? [] : torchKalmanModes)].filter(({ compile }) => !compile);
  for (const mode of context.torch ? modes : []) {
    progress(`memory: ${mode.name}`);
    const peer = await TorchPeer.start(options.python, threads, torchPlace(device, precision));
    try {
      await peer.prepare('step', mode, { n, batch, size, splits });
      await peer.run('step', 3);
      const { baseline, peak } = await peer.memory();
      used(mode.name, peak - baseline);
      if (mode.norm === 'bn') theirs.push({ name: mode.name, bytes: peak - baseline });
    } finally {
      await peer.close();
    }
  }
  const goals = theirs.length > 0 ? [checkMemory(n, ours, theirs)] : [];
  return { part: 'memory', lines, ratios: [], goals, results: [] };
}

/** TensorFlow.js at n = 1, if it can, and our steps at once after it. */
export async function tfjsPart(context: PeerContext): Promise<Report> {
  const { options, threads, progress } = context;
  const size = imageSize(options.smoke);
  progress('tfjs');
  const turns = options.smoke ? 1 : 5;
  const outcome = await tryTfjs(options.tfjs, { threads, n: 1, batch, size, turns });
  if ('reason' in outcome) {
    return {
      part: 'tfjs',
      lines: [{ name: 'tfjs bn n=1', note: outcome.reason }],
      ratios: [],
      goals: [],
      results: [],
    };
  }
  const theirs: Result = { name: `tfjs ${outcome.version} bn n=1`, steps: 1, seconds: outcome.seconds };
  const { candidates, release } = await gather(context, [{ method: methods(batch).batchNorm, network: { n: 1 } }], []);
  try {
    const [ours] = await take(context, 'tfjs', candidates);
    const results = [theirs, ours as Result];
    const ratios = [{ pair: `${theirs.name} / ours`, ...compare(theirs.seconds, (ours as Result).seconds) }];
    return { part: 'tfjs', lines: results.map((result) => lineOf(result)), ratios, goals: [], results };
  } finally {
    await release();
  }
}

/** One of our candidates. */
interface Contender {
  method: Method;
  network: Network;
  /** Default: the method's. */
  name?: string;
}

/** Networks of 32 × 32 images, but in smoke tests. */
function imageSize(smoke: boolean): number {
  return smoke ? 8 : 32;
}

/** Makes our candidates and PyTorch's, whose network is the first of ours; a mode that fails is a line with the reason. */
async function gather(
  { device, options, torch, progress }: PeerContext,
  own: readonly Contender[],
  modes: readonly TorchMode[],
  images = { batch, size: imageSize(options.smoke) },
): Promise<{ candidates: Candidate[]; lines: Line[]; release: () => Promise<void> }> {
  const steps = own.map(
    ({ method: { norm }, network }) => new TrainingStep(device, { ...network, ...images, norm, eager: false }),
  );
  const candidates: Candidate[] = own.map(({ method, name = method.name }, i) => ({
    name,
    run: (count) => (steps[i] as TrainingStep).run(count),
  }));
  const lines: Line[] = [];
  const { network } = own[0] as Contender;
  for (const mode of torch ? modes : []) {
    progress(`preparing ${mode.name}`);
    try {
      const parameters = await (torch as TorchPeer).prepare(mode.name, mode, { ...network, ...images, splits });
      const expected = (steps[0] as TrainingStep).parameterCount;
      if (parameters !== expected) throw new Error(`it has ${parameters} parameters, ours ${expected}`);
      // Compilation happens here, where nothing else runs.
      await (torch as TorchPeer).run(mode.name, 1);
      candidates.push({ name: mode.name, run: (count) => (torch as TorchPeer).run(mode.name, count) });
    } catch (error) {
      lines.push({ name: mode.name, note: `failed: ${(error as Error).message.split('\n')[0]}` });
      await torch?.drop(mode.name);
    }
  }
  const release = async () => {
    for (const step of steps) step.dispose();
    device.trimMemory();
    for (const { name } of modes) await torch?.drop(name);
  };
  return { candidates, lines, release };
}

function take({ options, progress }: PeerContext, part: string, candidates: readonly Candidate[]): Promise<Result[]> {
  return interleave(candidates, {
    rounds: options.rounds,
    turn: options.time / 1000,
    onTurn: (round, name) => progress(`${part}: round ${round} of ${options.rounds}, ${name}`),
  });
}

function lineOf({ name, seconds }: Result, images = batch): Line {
  const summary = scaled(summarize(seconds), 1000);
  return { name, unit: 'ms', ...summary, imagesPerSecond: (1000 * images) / summary.median };
}

/** Every PyTorch mode against our step with the same normalization, and our normalizations against our BN. */
function pairsOf(results: readonly Result[]): Report['ratios'] {
  const ours = (name: string) => results.find((result) => result.name === name);
  return results.flatMap((result) => {
    const peer = result.name.startsWith('torch');
    const base = ours(peer && result.name.startsWith('torch kn') ? names.kalmanSampled : names.batchNorm);
    if (!base || base === result) return [];
    return [{ pair: `${result.name} / our ${base.name}`, ...compare(result.seconds, base.seconds) }];
  });
}
