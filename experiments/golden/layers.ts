/**
 * Cases of one normalization layer: Kalman normalization, split batch normalization, batch normalization and group
 * normalization.
 */
import {
  BatchNorm2d,
  Belief,
  backward,
  GroupNorm,
  type Layer,
  noGrad,
  ReferenceKalmanNorm2d,
  type Tensor,
} from '../../lib/index.js';
import { type Case, evaluate, gradient } from './case.js';
import type { Fields } from './files.js';
import type { Values } from './layout.js';

/** Runs a layer case, by its `layer`. Null for an unknown one. */
export function layerCheck(layer: string): ((c: Case) => Promise<void>) | null {
  switch (layer) {
    case 'KalmanNorm':
      return checkKalmanNorm;
    case 'BatchNorm_SplitGPU':
      return (c) => checkPlainNorm(c, batchNorm(c, c.fields.number('split_num')));
    case 'tensorpack BatchNorm':
      return (c) => checkPlainNorm(c, batchNorm(c, 1));
    case 'GroupNorm':
      return (c) => {
        const { fields } = c;
        const norm = new GroupNorm(c.device, fields.number('groups'), channels(c), {
          epsilon: fields.number('epsilon'),
        });
        return checkPlainNorm(c, norm);
      };
    default:
      return null;
  }
}

/** Names of a layer's parameters and buffers in the reference. */
const referenceNames = { gamma: 'gamma', beta: 'beta', runningMean: 'mean/EMA', runningVariance: 'variance/EMA' };
type StateName = keyof typeof referenceNames;

/** Options of the layers with running averages, as the reference has them. */
export function runningOptions(fields: Fields) {
  return {
    epsilon: fields.number('epsilon'),
    momentum: 1 - fields.number('decay'),
    runningStats: 'first-split',
  } as const;
}

function channels(c: Case): number {
  const shape = c.recording.take('x').shape;
  return (c.isNchw ? shape[1] : shape.at(-1)) as number;
}

function batchNorm(c: Case, splits: number): BatchNorm2d {
  return new BatchNorm2d(c.device, channels(c), { splits, ...runningOptions(c.fields) });
}

/** Gives a layer its recorded state. A layer with a scale but no shift, or the reverse, keeps the neutral value. */
function load(c: Case, layer: Layer, without: readonly string[] = []): void {
  for (const [name, tensor] of layer.stateDict()) {
    const reference = referenceNames[name as StateName];
    if (!without.includes(reference)) tensor.write(c.recording.take(reference).data);
  }
}

/** Compares what is recorded among `results`; in the layout of activations, which vectors don't notice. */
function compareRecorded(c: Case, prefix: string, results: Record<string, Values>): void {
  for (const [name, values] of Object.entries(results)) {
    if (c.recording.has(prefix + name)) c.compareActivation(prefix + name, values);
  }
}

/** Compares running averages, by the names of the reference. */
function averages(layer: Layer): Record<string, Tensor> {
  const buffers = [...layer.namedBuffers()].map(([name, tensor]) => [
    referenceNames[name as StateName],
    tensor.detach(),
  ]);
  return Object.fromEntries(buffers) as Record<string, Tensor>;
}

async function checkPlainNorm(c: Case, layer: Layer): Promise<void> {
  load(c, layer);
  const training = await evaluate(() => {
    const x = c.activation('x', true);
    const out = layer.forward(x);
    backward(out, c.activation('ct_out'));
    return { out, ...gradients('grad_out', layer, { x }) };
  });
  compareRecorded(c, '', training);
  compareRecorded(c, 'after/', await evaluate(() => averages(layer)));
  layer.eval();
  compareRecorded(c, 'infer/', await evaluate(() => noGrad(() => ({ out: layer.forward(c.activation('x')) }))));
  layer.dispose();
}

/** Gradients of a layer's parameters and inputs, as PREFIX/NAME. */
function gradients(prefix: string, layer: Layer, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const leaves = [...layer.namedParameters(), ...Object.entries(inputs)];
  return Object.fromEntries(leaves.map(([name, leaf]) => [`${prefix}/${name}`, gradient(leaf)]));
}

async function checkKalmanNorm(c: Case): Promise<void> {
  const { fields } = c;
  const splits = fields.number('split_num');
  const hasPrior = fields.flag('prior');
  const without = [...(fields.flag('use_scale') ? [] : ['gamma']), ...(fields.flag('use_bias') ? [] : ['beta'])];
  const norm = new ReferenceKalmanNorm2d(c.device, channels(c), {
    splits,
    gain: 1 - fields.number('p_rate'),
    affine: without.length < 2,
    ...runningOptions(fields),
  });
  load(c, norm, without);

  /** A training step, and the gradients of the sums over these outputs. */
  const train = (prefix: 'grad_out' | 'grad_all') => {
    const x = c.activation('x', true);
    const prior: Record<string, Tensor> = hasPrior
      ? { pre_mean: c.vector('pre_mean', true), pre_var: c.vector('pre_var', true) }
      : {};
    const belief = hasPrior ? new Belief(prior.pre_mean!, prior.pre_var!, splits) : null;
    const { output, posterior } = norm.step(x, belief);
    const { mean, variance } = posterior!;
    const seeds: [Tensor, Tensor][] = [[output, c.activation('ct_out')]];
    if (prefix === 'grad_all') seeds.push([mean, c.vector('ct_mean')], [variance, c.vector('ct_var')]);
    // Without a prior the statistics handed on have no graph: nothing flows back through them.
    const flowing = seeds.filter(([root]) => root.requiresGrad);
    norm.zeroGrad();
    backward(
      flowing.map(([root]) => root),
      flowing.map(([, seed]) => seed),
    );
    const ratio = norm.lastRatio!.detach();
    return { out: output, mean, var: variance, ratio, ...gradients(prefix, norm, { x, ...prior }) };
  };

  const { ratio, ...training } = await evaluate(() => train('grad_out'));
  compareRecorded(c, '', training);
  compareRecorded(c, 'after/', await evaluate(() => averages(norm)));
  if (hasPrior) {
    const [value, used] = ratio!.data as unknown as [number, number];
    c.compare('guard_ratio', { shape: [1], data: Float32Array.of(value) });
    if ((used === 1) === fields.flag('guard_keeps_batch')) {
      c.faults.push(`the guard ${used === 1 ? 'kept' : 'dropped'} the prior, at a ratio of ${value}`);
    }
  }

  norm.eval();
  const { out, mean, variance } = await evaluate(() => ({
    out: noGrad(() => norm.step(c.activation('x'), null).output),
    mean: norm.runningMean.detach(),
    variance: norm.runningVariance.detach(),
  }));
  // The reference hands the running averages on, once a split; here inference hands nothing on, as nothing uses it.
  const repeated = (data: Float32Array) => {
    const all = Float32Array.from({ length: splits * data.length }, (_, i) => data[i % data.length]!);
    return { shape: [all.length], data: all };
  };
  compareRecorded(c, 'infer/', { out, mean: repeated(mean.data), var: repeated(variance.data) });

  norm.train();
  const again = Object.entries(await evaluate(() => train('grad_all')));
  compareRecorded(c, '', Object.fromEntries(again.filter(([name]) => name.startsWith('grad_all/'))));
  norm.dispose();
}
