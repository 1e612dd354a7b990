/**
 * Whole-model cases: a network trained for some steps, with inference before and between.
 */
import { check } from '../../lib/errors.js';
import {
  backward,
  CifarResNet,
  crossEntropy,
  type Module,
  type NormSpec,
  noGrad,
  ReferenceKalmanNorm2d,
  Sgd,
  type StateValues,
  type Tensor,
} from '../../lib/index.js';
import { type Case, evaluate, gradient } from './case.js';
import type { Fields, Recording } from './files.js';
import { flat, slice, toHwio, toNchw, toOihw, toSamples, type Values } from './layout.js';
import { ownName } from './names.js';

/** Tensors that the whole-model files of a folder share. */
export interface Companions {
  /** `images`, `labels` and `per_pixel_mean`. */
  readonly inputs: Recording;
  /** Initial weights; null where the file names none. */
  readonly init: Recording | null;
}

/** The title of a whole-model file: its first word after "whole model" starts with the normalization. */
export const networkTitle = /^D: whole model (kn|bn|gn)(?![a-z])/;

function normSpec(fields: Fields): NormSpec {
  const splits = fields.has('split_num') ? fields.number('split_num') : 1;
  const epsilon = fields.number('epsilon');
  const running = { splits, epsilon, momentum: 1 - fields.number('decay'), runningStats: 'first-split' } as const;
  switch (networkTitle.exec(fields.text('title'))?.[1]) {
    case 'kn':
      return { type: 'reference-kalman', ...running, gain: 1 - fields.number('p_rate'), beliefPadding: 'reference' };
    case 'bn':
      return { type: 'batch', ...running };
    default:
      // The reference's group norm has four groups, whatever the width.
      return { type: 'group', groups: 4, epsilon };
  }
}

/** Runs a whole-model case. */
export async function checkNetwork(c: Case, companions: Companions): Promise<void> {
  const { fields, recording } = c;
  const names = [...fields.list('trainable'), ...fields.list('buffers')].map((entry) =>
    String((entry as unknown[])[0]),
  );
  const blocks = new Set(names.flatMap((name) => /^res1\.\d+(?=\/)/.exec(name) ?? []));
  const n = blocks.size;
  fields.require('n', n);
  const initial = initialValues(c, names, companions.init);
  const classes = initial.get('linear.weight')?.shape[1] ?? 0;
  const model = new CifarResNet(c.device, { n, classes, norm: normSpec(fields) });
  model.loadStateDict(initial);
  fields.require('parameter_count', model.parameterCount());

  const optimizer = new Sgd(c.device, model.namedParameters(), fields.number('learning_rate'), {
    momentum: fields.number('momentum'),
    nesterov: fields.flag('nesterov'),
    weightDecay: fields.number('weight_decay'),
  });
  const run = new Run(c, model, optimizer, companions.inputs);
  await run.infer('init');
  for (let step = 0; step < fields.number('steps'); step++) {
    await run.train(step);
    if (recording.names(`after${step + 1}/`).length > 0) await run.snapshot(`after${step + 1}`);
  }
  optimizer.dispose();
  model.dispose();
}

/** The model's state from where `init_source` says: this file, or "NAME.safetensors:TENSOR". */
function initialValues(c: Case, names: readonly string[], init: Recording | null): StateValues {
  const sources = c.fields.object('init_source');
  const entries = names.map((name) => {
    const source = sources.text(name);
    const [file, shared] = source.split('.safetensors:');
    const from = shared === undefined ? c.recording : init;
    check(
      from !== null && (shared === undefined || file === from.where),
      'FILE_CORRUPT',
      () =>
        `init_source of ${name}: expected a tensor of this file or of ${init?.where ?? 'its init_file'}, got ${source}`,
    );
    const values = from.take(shared ?? source);
    return [knownName(name), toOwn(name, values)] as const;
  });
  return new Map(entries);
}

function knownName(reference: string): string {
  const name = ownName(reference);
  check(name !== null, 'FILE_CORRUPT', `${reference} is no parameter or buffer of the networks known here`);
  return name;
}

/** A recorded parameter or buffer in the shape and layout of the library. */
function toOwn(name: string, values: Values): Values {
  if (!name.endsWith('/W')) return flat(values);
  return values.shape.length === 4 ? toOihw(values) : values;
}

function toReference(values: Values): Values {
  return values.shape.length === 4 ? toHwio(values) : values;
}

/** The Kalman layers with a prior (all but the first), in the order of the network. */
function filteredLayers(module: Module): ReferenceKalmanNorm2d[] {
  const all = (parent: Module): ReferenceKalmanNorm2d[] =>
    [...parent.children()].flatMap(([, child]) => (child instanceof ReferenceKalmanNorm2d ? [child] : all(child)));
  return all(module).slice(1);
}

/** A run of a network along its recording. */
class Run {
  private readonly layers: readonly ReferenceKalmanNorm2d[];

  constructor(
    private readonly c: Case,
    private readonly model: CifarResNet,
    private readonly optimizer: Sgd,
    private readonly inputs: Recording,
  ) {
    this.layers = filteredLayers(model);
  }

  /** One training step, compared before its update. */
  async train(step: number): Promise<void> {
    const { c, model, optimizer, layers } = this;
    const parameters = [...model.namedParameters()];
    const penalty = await optimizer.penalty();
    const weights = await model.stateValues();
    model.zeroGrad();
    const results: Record<string, Values> = await evaluate(() => {
      const { images, labels } = this.batch(step);
      const logits = model.forward(images, layers.length > 0 ? this.noise(step) : null);
      const { loss } = crossEntropy(logits, labels);
      backward(loss);
      const ratios = layers.map((layer, i) => [`ratio ${i}`, layer.lastRatio!.detach()] as const);
      const gradients = parameters.map(([name, leaf]) => [`grad ${name}`, gradient(leaf)] as const);
      return { logits, loss, ...(Object.fromEntries([...ratios, ...gradients]) as Record<string, Tensor>) };
    });
    optimizer.step();

    const { logits, loss } = results as Record<'logits' | 'loss', Values>;
    c.compare(`step${step}/logits`, logits);
    c.compare(`step${step}/cross_entropy`, loss);
    c.compare(`step${step}/weight_decay_cost`, single(penalty));
    c.compare(`step${step}/cost`, single(loss.data[0]! + penalty));
    if (layers.length > 0) {
      const data = Float32Array.from(layers, (_, i) => results[`ratio ${i}`]!.data[0]!);
      c.compare(`step${step}/guard_ratio`, { shape: [data.length], data });
    }
    if (step > 0) return;
    for (const recorded of c.recording.names('grad/')) {
      const reference = recorded.slice('grad/'.length);
      const name = knownName(reference);
      const { shape, data } = results[`grad ${name}`]!;
      const decay = reference.endsWith('/W') ? optimizer.weightDecay : 0;
      const weight = weights.get(name)!.data;
      const total = data.map((value, i) => value + decay * weight[i]!);
      c.compare(recorded, toReference({ shape, data: total }));
    }
  }

  /** Compares parameters and running averages, and what the network then infers. */
  async snapshot(name: string): Promise<void> {
    const { c, model } = this;
    const state = await model.stateValues();
    for (const recorded of c.recording.names(`${name}/`)) {
      const values = state.get(knownName(recorded.slice(name.length + 1)));
      check(values !== undefined, 'FILE_CORRUPT', `${recorded} isn't part of this network`);
      c.compare(recorded, toReference(values as Values));
    }
    if (c.recording.names(`infer_${name}/`).length > 0) await this.infer(name);
  }

  /** Compares what the network infers from the last batch. */
  async infer(snapshot: string): Promise<void> {
    const { c, model } = this;
    model.eval();
    const { logits, loss } = await evaluate(() =>
      noGrad(() => {
        const { images, labels } = this.batch(-1);
        const logits = model.forward(images);
        return { logits, loss: crossEntropy(logits, labels).loss };
      }),
    );
    model.train();
    c.compare(`infer_${snapshot}/logits`, logits);
    c.compare(`infer_${snapshot}/cross_entropy`, loss);
  }

  /** A batch, counted from the end for a negative index: images [N, 3, H, W], less the mean, divided by 128. */
  private batch(index: number): { images: Tensor; labels: Tensor } {
    const { device } = this.c;
    const all = this.inputs.take('images');
    const at = index < 0 ? all.shape[0]! + index : index;
    check(at < all.shape[0]!, 'FILE_CORRUPT', () => `${this.inputs.where}: images: there is no batch ${at}`);
    const batch = slice(all, at);
    const mean = this.inputs.take('per_pixel_mean').data;
    const centred = batch.data.map((value, i) => Math.fround(value - mean[i % mean.length]!) / 128);
    const { shape, data } = toNchw({ shape: batch.shape, data: centred });
    const labels = Int32Array.from(slice(this.inputs.take('labels'), at).data);
    return { images: device.tensor(data, shape), labels: device.tensor(labels) };
  }

  /** The noise of a step for each convolution of the blocks, in order. */
  private noise(step: number): Tensor[] {
    const { device, fields, recording } = this.c;
    const row = Math.min(step, fields.number('noise_rows') - 1);
    const splits = fields.number('split_num');
    // Each convolution of the blocks leads to one layer with a prior.
    return this.layers.map((_, i) => {
      const { shape, data } = toSamples(slice(recording.take(`noise_${i}`), row), splits);
      return device.tensor(data, shape);
    });
  }
}

function single(value: number): Values {
  return { shape: [1], data: Float32Array.of(value) };
}
