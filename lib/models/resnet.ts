import { checkDevice, checkObjects, shown } from '../arguments.js';
import { check } from '../errors.js';
import { GlobalAvgPool2d, ReLU } from '../nn/activation.js';
import { Conv2d, type WeightStandardization } from '../nn/conv2d.js';
import type { Filtered } from '../nn/filtered.js';
import { Linear } from '../nn/linear.js';
import { MaxPool2d } from '../nn/max-pool.js';
import { Layer } from '../nn/module.js';
import { Residual } from '../nn/residual.js';
import { Sequential } from '../nn/sequential.js';
import { type ModulePlan, type ModuleSpec, registerModule, SpecReader, type SpecValue } from '../nn/spec.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom, initialRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import { defaultStandardization, makeNorm, type NormSpec, planNorm, transitionGradientOf } from './norm-spec.js';

/** Blocks of the four stages, by the number of layers. */
const stages = { 18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3] } as const;
const depths = Object.keys(stages).map(Number);

/** Options of {@link ResNet}. */
export interface ResNetOptions {
  /** Layers with weights: 18 and 34 have blocks of two 3 × 3 convolutions, 50 and 101 bottlenecks. */
  depth: 18 | 34 | 50 | 101;
  /** Any but `reference-kalman` and `normalizer-free`, whose blocks {@link CifarResNet} has. `frn` and `evonorm` stay activations everywhere. */
  norm: NormSpec;
  /** Default 1000. */
  classes?: number;
  /** Channels of the stem and of the first stage's 3 × 3 convolutions: a multiple of 16, at most 1024. Default 64. */
  width?: number;
  /** The last normalization of each block starts with gamma 0, so that blocks start as their shortcuts. Default false. */
  zeroInitResidual?: boolean;
  /** Of the convolutions' weights, as in {@link CifarResNetOptions}. Default false. */
  weightStandardization?: WeightStandardization;
  /** Of the initial values; default: they come from the thread's stream, see {@link manualSeed}. */
  seed?: number;
}

const optionNames: OptionNames<ResNetOptions> = {
  depth: true,
  norm: true,
  classes: true,
  width: true,
  zeroInitResidual: true,
  weightStandardization: true,
  seed: true,
};

/**
 * The residual network for photographs (He et al. 2016), arranged as torchvision's, "v1.5": a 7 × 7 convolution with
 * stride 2, max pooling, four stages of blocks, global average pooling and a linear layer. Where a bottleneck has a
 * stride, its 3 × 3 convolution has it. For 1000 classes with `batch` or `kalman` normalization: 11,689,512 (18),
 * 21,797,672 (34), 25,557,032 (50) and 44,549,160 (101) parameters.
 *
 * Input: [N, 3, H, W]; output: logits [N, classes].
 *
 * @example
 * const net = new ResNet(device, { depth: 50, norm: { type: 'kalman', splits: 8 }, classes: 100 });
 * const logits = net.forward(images); // [N, 3, 224, 224] to [N, 100]
 */
export class ResNet extends Layer {
  static readonly type = 'ResNet';
  private readonly options: Required<Omit<ResNetOptions, 'seed' | 'zeroInitResidual'>>;
  /**
   * All layers: convolution, normalization, pooling; the blocks, each a residual sum and a ReLU; pooling, linear layer.
   */
  readonly net: Sequential;

  constructor(device: Device, options: ResNetOptions) {
    super();
    checkDevice('ResNet', device);
    checkOptions('ResNet', options, optionNames);
    checkObjects('ResNet', { norm: options.norm });
    const {
      depth,
      norm,
      classes = 1000,
      width = 64,
      zeroInitResidual = false,
      weightStandardization = defaultStandardization(norm),
    } = options;
    check(isDepth(depth), 'INVALID_ARGUMENT', () => `ResNet: depth must be one of ${depths}, got ${shown(depth)}`);
    check(isClasses(classes), 'INVALID_ARGUMENT', () => `ResNet: classes must be ${CLASSES}, got ${shown(classes)}`);
    check(isWidth(width), 'INVALID_ARGUMENT', () => `ResNet: width must be ${WIDTH}, got ${shown(width)}`);
    check(
      typeof zeroInitResidual === 'boolean',
      'INVALID_ARGUMENT',
      () => `ResNet: zeroInitResidual must be true or false, got ${shown(zeroInitResidual)}`,
    );
    checkType(norm, 'ResNet: norm');
    // Without options that are undefined, as JSON has it.
    const plain = JSON.parse(JSON.stringify(norm)) as NormSpec;
    this.options = { depth, classes, width, norm: plain, weightStandardization };
    const random = options.seed === undefined ? initialRandom() : new HostRandom(options.seed);
    const settings = { random, weightStandardization, transitionGradient: transitionGradientOf(norm) };

    const conv = (from: number, to: number, kernel: number, stride = 1) =>
      new Conv2d(device, from, to, kernel, { stride, padding: (kernel - 1) / 2, ...settings });
    const block = (from: number, channels: number, stride: number) => {
      const to = channels * expansion(depth);
      const normed = () => makeNorm(device, norm, channels, true);
      const last = makeNorm(device, norm, to, false);
      if (zeroInitResidual) last.namedParameters().get('gamma')?.write(new Float32Array(to));
      const body =
        expansion(depth) === 1
          ? [conv(from, channels, 3, stride), normed(), conv(channels, to, 3), last]
          : [
              conv(from, channels, 1),
              normed(),
              conv(channels, channels, 3, stride),
              normed(),
              conv(channels, to, 1),
              last,
            ];
      const shortcut =
        stride === 1 && from === to
          ? null
          : new Sequential(conv(from, to, 1, stride), makeNorm(device, norm, to, false));
      return new Sequential(new Residual(new Sequential(...body), shortcut), new ReLU());
    };

    const layers: Layer[] = [
      conv(3, width, 7, 2),
      makeNorm(device, norm, width, true),
      new MaxPool2d(3, { stride: 2, padding: 1 }),
    ];
    let from = width;
    for (const [stage, blocks] of stages[depth].entries()) {
      const channels = width * 2 ** stage;
      for (let i = 0; i < blocks; i++) {
        layers.push(block(from, channels, stage > 0 && i === 0 ? 2 : 1));
        from = channels * expansion(depth);
      }
    }
    this.net = new Sequential(...layers, new GlobalAvgPool2d(), new Linear(device, from, classes, { random }));
  }

  static plan(spec: SpecReader): ModulePlan {
    const depth = spec.value<ResNetOptions['depth']>('depth', isDepth, `one of ${depths}`);
    const classes = spec.value<number>('classes', isClasses, CLASSES);
    const width = spec.value<number>('width', isWidth, WIDTH);
    const norm = planNorm(spec.object('norm'));
    checkType(norm, 'spec.norm');
    const options = {
      depth,
      classes,
      width,
      norm,
      weightStandardization: Conv2d.standardizationOption(spec, defaultStandardization(norm)),
    };
    // Of the filters alone, without shortcuts: in squares of a stage's channels, 2·9 or 9 + at least 2·4 a block but the first.
    const squares = stages[depth].map((blocks, stage) => (blocks - 1) * 17 * (width * 2 ** stage) ** 2);
    const features = 8 * width * expansion(depth);
    const values = squares.reduce((sum, each) => sum + each, (features + 1) * classes);
    return { values, build: (device) => new ResNet(device, options) };
  }

  override spec(): ModuleSpec {
    const { norm, ...rest } = this.options;
    // With every default written out: a file keeps its meaning if they change.
    return { type: ResNet.type, ...rest, norm: planNorm(new SpecReader({ ...norm }, 'norm')) as SpecValue };
  }

  /** Number of blocks of each stage. */
  get stages(): readonly number[] {
    return stages[this.options.depth];
  }

  /** @param images [N, 3, H, W] */
  override forward(images: Tensor): Tensor {
    return this.net.forward(images);
  }

  override filter(input: Filtered): Filtered {
    return this.net.filter(input);
  }
}

const CLASSES = 'a whole number from 2 to 2^20';
const WIDTH = 'a multiple of 16 from 16 to 1024';

function isDepth(value: unknown): boolean {
  return depths.includes(value as number);
}

function isClasses(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 2 && (value as number) <= 2 ** 20;
}

function isWidth(value: unknown): boolean {
  return (
    Number.isInteger(value) && (value as number) >= 16 && (value as number) <= 1024 && (value as number) % 16 === 0
  );
}

/** Outputs of a block for each of its channels. */
function expansion(depth: number): 1 | 4 {
  return depth < 50 ? 1 : 4;
}

/** The reference's filter and normalizer-free networks need blocks of their own. */
function checkType({ type }: NormSpec, name: string): void {
  check(
    type !== 'reference-kalman' && type !== 'normalizer-free',
    'INVALID_ARGUMENT',
    `${name}: expected another type than ${type}, which only CifarResNet has`,
  );
}

registerModule(ResNet);
