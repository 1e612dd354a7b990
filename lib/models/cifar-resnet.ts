import { checkDevice, checkObjects } from '../arguments.js';
import { check } from '../errors.js';
import { Conv2d, type WeightStandardization } from '../nn/conv2d.js';
import { disposeFiltered, type Filtered } from '../nn/filtered.js';
import { Linear } from '../nn/linear.js';
import { type Layer, Module } from '../nn/module.js';
import { ReferenceKalmanNorm2d } from '../nn/reference-kalman-norm.js';
import { type ModulePlan, type ModuleSpec, registerModule, SpecReader, type SpecValue } from '../nn/spec.js';
import { globalAvgPool } from '../ops/pool.js';
import type { Noise } from '../ops/predict.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom, initialRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import { defaultStandardization, makeNorm, type NormSpec, planNorm, transitionGradientOf } from './norm-spec.js';
import { NormalizerFreeBlock } from './normalizer-free-block.js';
import { ReferenceKalmanBlock } from './reference-kalman-block.js';
import { type BlockOptions, ResidualBlock } from './residual-block.js';

/** Options of {@link CifarResNet}. */
export interface CifarResNetOptions {
  /** Blocks a stage, 1 to 1000; the network has 6n + 2 layers. Default 5. */
  n?: number;
  norm: NormSpec;
  /** 2 to 2^20; default 10. */
  classes?: number;
  /**
   * Of the convolutions' weights: true, to variance 1 (Qiao et al. 2019), a number, the norm that each output's get, or
   * `centered`; see {@link weightStandardize}. Default false; with `mabn` `centered`, with `normalizer-free`
   * {@link reluGain}.
   */
  weightStandardization?: WeightStandardization;
  /** Of the initial values; default: they come from the thread's stream, see {@link manualSeed}. */
  seed?: number;
}

const optionNames: OptionNames<CifarResNetOptions> = {
  n: true,
  norm: true,
  classes: true,
  weightStandardization: true,
  seed: true,
};

const MOST_CLASSES = 2 ** 20;

/**
 * The reference's pre-activation residual network for 32 × 32 images: a convolution, three stages of n blocks with
 * 16, 32 and 64 channels, global average pooling and a linear layer. 464,154 parameters at n = 5 for 10 classes, where
 * the normalization has a scale and a shift (`frn` and `evonorm` have a third vector, `batch-channel` has four). With
 * `normalizer-free` the blocks are those of {@link NormalizerFreeBlock}.
 *
 * Input: [N, 3, H, W], mean subtracted and divided by 128; output: logits [N, classes].
 */
export class CifarResNet extends Module {
  static readonly type = 'CifarResNet';
  /** What n may be; a file that asks for more is refused. */
  static readonly mostBlocks = 1000;
  private readonly options: {
    n: number;
    classes: number;
    norm: NormSpec;
    weightStandardization: WeightStandardization;
  };
  readonly conv0: Conv2d;
  readonly norm0: Layer;
  readonly stage1: readonly Module[];
  readonly stage2: readonly Module[];
  readonly stage3: readonly Module[];
  readonly normLast: Layer;
  readonly linear: Linear;

  constructor(device: Device, options: CifarResNetOptions) {
    super();
    checkDevice('CifarResNet', device);
    checkOptions('CifarResNet', options, optionNames);
    checkObjects('CifarResNet', { norm: options.norm });
    const { n = 5, norm, classes = 10, weightStandardization = defaultStandardization(norm), seed } = options;
    check(
      isWhole(n, 1, CifarResNet.mostBlocks),
      'INVALID_ARGUMENT',
      `CifarResNet: n must be a whole number from 1 to ${CifarResNet.mostBlocks}, got ${n}`,
    );
    check(
      isWhole(classes, 2, MOST_CLASSES),
      'INVALID_ARGUMENT',
      `CifarResNet: classes must be a whole number from 2 to ${MOST_CLASSES}, got ${classes}`,
    );
    // Without options that are undefined, as JSON has it.
    this.options = { n, classes, norm: JSON.parse(JSON.stringify(norm)) as NormSpec, weightStandardization };
    const random = seed === undefined ? initialRandom() : new HostRandom(seed);
    this.conv0 = new Conv2d(device, 3, 16, 3, { padding: 'same', random, weightStandardization });
    // A normalizer-free network's blocks begin with their ReLU, the first one's too.
    this.norm0 = makeNorm(device, norm, 16, norm.type !== 'normalizer-free');
    const stage = (channels: number, first: boolean) =>
      Array.from({ length: n }, (_, i) => {
        const widens = !first && i === 0;
        return makeBlock(device, norm, widens ? n : i, {
          inChannels: widens ? channels / 2 : channels,
          widens,
          first: first && i === 0,
          random,
          weightStandardization,
          transitionGradient: transitionGradientOf(norm),
        });
      });
    this.stage1 = stage(16, true);
    this.stage2 = stage(32, false);
    this.stage3 = stage(64, false);
    this.normLast = makeNorm(device, norm, 64, true);
    this.linear = new Linear(device, 64, classes, { random });
  }

  static plan(spec: SpecReader): ModulePlan {
    const most = CifarResNet.mostBlocks;
    const n = spec.value<number>('n', (value) => isWhole(value, 1, most), `a whole number from 1 to ${most}`);
    const classes = spec.value<number>(
      'classes',
      (value) => isWhole(value, 2, MOST_CLASSES),
      `a whole number from 2 to ${MOST_CLASSES}`,
    );
    const norm = planNorm(spec.object('norm'));
    const options = {
      n,
      norm,
      classes,
      weightStandardization: Conv2d.standardizationOption(spec, defaultStandardization(norm)),
    };
    // Stage by stage, in 3 x 3 filters: 2n convolutions, the first of a widening stage from half the channels.
    const filters = 3 * 16 + 2 * n * 16 ** 2 + [32, 64].reduce((sum, c) => sum + (2 * n - 0.5) * c ** 2, 0);
    return { values: 9 * filters + 65 * classes, build: (device) => new CifarResNet(device, options) };
  }

  override spec(): ModuleSpec {
    const { norm, ...rest } = this.options;
    // With every default written out: a file keeps its meaning if they change.
    return { type: CifarResNet.type, ...rest, norm: planNorm(new SpecReader({ ...norm }, 'norm')) as SpecValue };
  }

  /**
   * @param images [N, 3, H, W]
   * @param noise of the virtual samples: needed in the training of a Kalman network with the sampled transition. A list has one tensor [S, C, H, W]
   *   for each convolution of the blocks, in order
   */
  forward(images: Tensor, noise: Noise | readonly Tensor[] | null = null): Tensor {
    const draws = drawer(noise);
    const stem = this.conv0.forward(images);
    const features =
      this.norm0 instanceof ReferenceKalmanNorm2d ? this.referenceFeatures(stem, draws) : this.features(stem);
    const pooled = globalAvgPool(features);
    features.dispose();
    const logits = this.linear.forward(pooled);
    pooled.dispose();
    return logits;
  }

  private blocks(): Module[] {
    return [...this.stage1, ...this.stage2, ...this.stage3];
  }

  private features(stem: Tensor): Tensor {
    let state: Filtered = { x: stem, belief: null };
    for (const part of [this.norm0, ...(this.blocks() as ResidualBlock[]), this.normLast]) {
      const next = part.filter(state);
      disposeFiltered(state, next);
      state = next;
    }
    state.belief?.dispose();
    state.input?.dispose();
    return state.x;
  }

  private referenceFeatures(stem: Tensor, draws: () => Noise | null): Tensor {
    const [first, last] = [this.norm0 as ReferenceKalmanNorm2d, this.normLast as ReferenceKalmanNorm2d];
    const blocks = this.blocks() as ReferenceKalmanBlock[];
    const start = first.step(stem, null, blocks[0]?.draw(draws) ?? null);
    stem.dispose();
    let state = { x: start.output, prior: start.posterior };
    for (const block of blocks) {
      const next = block.forward(state.x, state.prior, draws);
      state.x.dispose();
      state.prior?.dispose();
      state = next;
    }
    const { output, posterior } = last.step(state.x, state.prior);
    for (const unused of [state.x, state.prior, posterior]) unused?.dispose();
    return output;
  }
}

/** Hands out noise, one draw at a time. */
function drawer(noise: Noise | readonly Tensor[] | null): () => Noise | null {
  if (!Array.isArray(noise)) return () => noise as Noise | null;
  let next = 0;
  return () => {
    check(
      next < noise.length,
      'INVALID_ARGUMENT',
      `CifarResNet: noise has ${noise.length} tensors, one a convolution of the blocks is needed`,
    );
    return noise[next++] as Tensor;
  };
}

function isWhole(value: unknown, from: number, to: number): boolean {
  return Number.isInteger(value) && (value as number) >= from && (value as number) <= to;
}

/** @param before how many branches have been added to the block's input, since it was one of variance 1 */
function makeBlock(
  device: Device,
  spec: NormSpec,
  before: number,
  shape: Omit<BlockOptions<Layer>, 'norm1' | 'norm2'>,
): Module {
  if (spec.type === 'normalizer-free') {
    const { alpha = 0.2 } = spec;
    const { first: _, ...common } = shape;
    return new NormalizerFreeBlock(device, { ...common, alpha, variance: 1 + before * alpha ** 2 });
  }
  const outChannels = shape.widens ? 2 * shape.inChannels : shape.inChannels;
  const norms = () => ({
    norm1: shape.first ? null : makeNorm(device, spec, shape.inChannels, true),
    norm2: makeNorm(device, spec, outChannels, true),
  });
  if (spec.type === 'reference-kalman') {
    return new ReferenceKalmanBlock(device, {
      ...shape,
      ...(norms() as { norm1: ReferenceKalmanNorm2d | null; norm2: ReferenceKalmanNorm2d }),
      beliefPadding: spec.beliefPadding ?? 'aligned',
      transition: spec.transition ?? 'sampled',
    });
  }
  return new ResidualBlock(device, { ...shape, ...norms() });
}

registerModule(CifarResNet);
