import {
  CifarResNet,
  type Dataset,
  type Device,
  type FilterStep,
  filterRows,
  KalmanNorm2d,
  type LossScaler,
  limit,
  Optimizer,
  ReferenceKalmanNorm2d,
  Sgd,
  type StateValues,
  type Tensor,
  type TensorData,
  Trainer,
} from '../../lib/index.js';
import type { Configuration } from '../options.js';
import { type FilterKnowledge, figuresOf, type LayerFigures, type StepValues } from './figures.js';

/** What the filter of a network is doing at one moment of its training. */
export interface Diagnosis {
  /** In the order in which samples pass through. */
  readonly layers: readonly LayerFigures[];
  /** Root mean square over steps of the norm of all gradients together, and of each parameter's. */
  readonly gradientNorm: number;
  readonly gradientNorms: Readonly<Record<string, number>>;
}

/** A moment of a training. */
export interface Moment {
  readonly model: StateValues;
  /** The optimizer's, where it is known: a momentum. */
  readonly optimizer: StateValues | null;
  readonly learningRate: number;
}

type KalmanLayer = KalmanNorm2d | ReferenceKalmanNorm2d;

/**
 * Looks at the filter in a network's training, by a network of its own with the same values: the one that trains isn't
 * touched. It is shown the same few batches twice, first with weights and the filter's state held, then in training steps
 * as they would come next.
 */
export class FilterExaminer {
  private readonly twin: CifarResNet;
  private readonly dataset: Dataset;
  /** Batches that are looked at: those asked for, or as many as there are. */
  readonly steps: number;

  /**
   * @param options.dataset of the training; its first images are looked at
   * @param options.mean that the training subtracts from images
   * @param options.steps batches to look at
   */
  constructor(
    private readonly options: {
      device: Device;
      configuration: Configuration;
      dataset: Dataset;
      mean: Float32Array | readonly number[];
      steps: number;
    },
  ) {
    const { device, dataset, steps } = options;
    const { n, norm, weightStandardization, batchSize, seed } = options.configuration;
    const classes = dataset.classNames.length;
    this.dataset = limit(dataset, { train: Math.min(steps * batchSize, dataset.train.count) });
    this.steps = Math.floor(this.dataset.train.count / batchSize);
    this.twin = new CifarResNet(device, { n, norm, weightStandardization, classes, seed });
  }

  /**
   * Looks at one moment.
   *
   * @throws KalmanNormError `DIVERGED` where a loss isn't finite
   */
  async examine({ model, optimizer, learningRate }: Moment): Promise<Diagnosis> {
    const { twin } = this;
    const { device, configuration } = this.options;
    const { momentum, weightDecay } = configuration;
    twin.loadStateDict(model);
    const buffers = twin.namedBuffers();
    const restore = () => {
      for (const [name, tensor] of buffers) tensor.write(model.get(name)?.data as TensorData);
    };
    using still = new StandStill(device, twin.namedParameters(), restore);
    const held = await this.watch(still);
    using sgd = new Sgd(device, twin.namedParameters(), learningRate, { momentum, weightDecay });
    if (optimizer) sgd.loadStateDict(optimizer);
    const moving = await this.watch(sgd);
    const gradientNorms = await still.norms();
    const layers = [...held].map(([layer, steps]): LayerFigures => {
      const name = nameOf(layer, buffers);
      const norms = ['gamma', 'beta'].map((vector) => gradientNorms[`${name}.${vector}`] ?? 0);
      const figures = figuresOf(steps, moving.get(layer) ?? [], knowledgeOf(layer, name, model));
      return { layer: name, ...figures, gradientNorm: norm(norms) };
    });
    return { layers, gradientNorm: norm(Object.values(gradientNorms)), gradientNorms };
  }

  dispose(): void {
    this.twin.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** One pass over the batches, which are the same each time; what the layers' filters did, step by step. */
  private async watch(optimizer: Optimizer): Promise<Map<KalmanLayer, StepValues[]>> {
    const { twin: model, dataset } = this;
    const { device, configuration, mean } = this.options;
    const { batchSize, accumulate, seed } = configuration;
    const reads = new Map<KalmanLayer, Promise<StepValues>[]>();
    const layers = kalmanLayers(model);
    for (const layer of layers) {
      layer.observer = (step) => {
        const own = reads.get(layer) ?? [];
        reads.set(layer, [...own, read(step)]);
      };
    }
    using trainer = new Trainer({ device, model, optimizer, dataset, batchSize, accumulate, seed, mean, eager: true });
    try {
      await trainer.trainEpoch(1);
    } finally {
      for (const layer of layers) layer.observer = null;
    }
    const done = [...reads].map(async ([layer, steps]) => [layer, await Promise.all(steps)] as const);
    return new Map(await Promise.all(done));
  }
}

/** A diagnosis for a file: numbers with four digits, null where something isn't finite. */
export function rounded<T>(diagnosis: T): T {
  const text = JSON.stringify(diagnosis, (_, value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value,
  );
  return JSON.parse(text) as T;
}

/** The normalizations of a network that have a filter. */
function kalmanLayers(model: CifarResNet): KalmanLayer[] {
  return model.modules().filter((module) => module instanceof KalmanNorm2d || module instanceof ReferenceKalmanNorm2d);
}

/** An optimizer that leaves weights as they are, puts back what else a step moves, and notes gradients. */
class StandStill extends Optimizer {
  private readonly steps: Promise<number[]>[] = [];

  constructor(
    device: Device,
    parameters: ReadonlyMap<string, Tensor>,
    private readonly restore: () => void,
  ) {
    super(device, parameters, 0, {}, { buffers: [] });
  }

  protected override update(gradients: readonly Tensor[], _rate: Tensor, scaler: LossScaler | null): void {
    const factor = scaler?.value() ?? 1;
    const norms = gradients.map(async (gradient) => norm(await gradient.data()) / (await factor));
    this.steps.push(Promise.all(norms));
    this.restore();
  }

  /** Root mean square over the steps, by parameter. A step whose gradients overflow, as float16's may, doesn't count. */
  async norms(): Promise<Record<string, number>> {
    const steps = (await Promise.all(this.steps)).filter((norms) => norms.every(Number.isFinite));
    const rms = (i: number) => norm(steps.map((norms) => norms[i] as number)) / Math.sqrt(steps.length);
    return Object.fromEntries(this.slots.map(({ name }, i) => [name, rms(i)]));
  }
}

async function read({ prior, belief, observation, posterior, gain, guard }: FilterStep): Promise<StepValues> {
  const values = async (value: Tensor | number) => (typeof value === 'number' ? [value] : value.data());
  const both = async ({ mean, variance }: FilterStep['gain']) => {
    const [m, v] = await Promise.all([values(mean), values(variance)]);
    return { mean: m, variance: v };
  };
  const known = (pair: FilterStep['prior']) => (pair ? both(pair) : null);
  const all = [known(prior), known(belief), both(observation), both(posterior), both(gain), guard?.data()] as const;
  const [p, b, o, q, g, ratio] = await Promise.all(all);
  return { prior: p, belief: b, observation: o, posterior: q, gain: g, dropped: p !== null && ratio?.[1] === 0 };
}

function nameOf(layer: KalmanLayer, buffers: ReadonlyMap<string, Tensor>): string {
  const [name = ''] = [...buffers].find(([, tensor]) => tensor === layer.runningMean) ?? [];
  return name.replace(/\.?runningMean$/, '');
}

function knowledgeOf(layer: KalmanLayer, name: string, model: StateValues): FilterKnowledge {
  const data = (part: string) => (model.get(`${name}.${part}`) as { data: Float32Array }).data;
  const running = { mean: data('runningMean'), variance: data('runningVariance') };
  if (layer instanceof ReferenceKalmanNorm2d) return { running, epsilon: layer.epsilon, adaptive: null, pooled: false };
  const { gain, gate } = layer.spec();
  const state = data('filterState');
  const row = (of: (typeof filterRows)[number]) => {
    const from = filterRows.indexOf(of) * layer.channels;
    return state.subarray(from, from + layer.channels);
  };
  const adaptive = { error: row('meanError'), noise: row('meanNoise'), gate: gate as number };
  return { running, epsilon: layer.epsilon, adaptive: gain === 'adaptive' ? adaptive : null, pooled: true };
}

function norm(values: Iterable<number>): number {
  let squares = 0;
  for (const value of values) squares += value ** 2;
  return Math.sqrt(squares);
}
