import { checkObjects, shown } from '../arguments.js';
import { check } from '../errors.js';
import { CifarResNet } from '../models/cifar-resnet.js';
import { ReferenceKalmanBlock } from '../models/reference-kalman-block.js';
import { ResidualBlock } from '../models/residual-block.js';
import { ResNet } from '../models/resnet.js';
import { AvgPool2d, GlobalAvgPool2d, ReLU } from '../nn/activation.js';
import { BatchChannelNorm2d } from '../nn/batch-channel-norm.js';
import { BatchNorm1d, BatchNorm2d } from '../nn/batch-norm.js';
import { BatchRenorm2d } from '../nn/batch-renorm.js';
import { Concat } from '../nn/concat.js';
import { Conv2d } from '../nn/conv2d.js';
import { Dropout } from '../nn/dropout.js';
import { Identity } from '../nn/flatten.js';
import { GroupNorm } from '../nn/group-norm.js';
import { KalmanNorm2d } from '../nn/kalman-norm.js';
import { type KnownTensor, knownTensors, standardizedFilters } from '../nn/known-values.js';
import { Linear } from '../nn/linear.js';
import { Layer, Module } from '../nn/module.js';
import type { RunningNorm } from '../nn/norm.js';
import { ReferenceKalmanNorm2d } from '../nn/reference-kalman-norm.js';
import { Residual } from '../nn/residual.js';
import { Sequential } from '../nn/sequential.js';
import { SyncBatchNorm2d } from '../nn/sync-batch-norm.js';
import { Unknown } from '../nn/unknown.js';
import { HostRandom } from '../random.js';
import type { Tensor } from '../tensor.js';
import { FoldedConv2d, FoldedResidual, PadChannels } from './folded-layers.js';
import { isNetwork } from './programs.js';

/**
 * A network for inference alone that computes what the given one does, up to float32 rounding, with fewer passes over the
 * samples. A convolution or linear layer takes up the normalization right behind it where that normalizes by running
 * averages (batch, batch renormalization, Kalman, and the first half of batch-channel normalization), then the ReLU
 * behind that; standardized weights are settled. What stands before a convolution, as the first normalization of a
 * pre-activation block, stays: a ReLU and the zeros of the padding lie between. So do normalizations by each sample's
 * own statistics, and layers of classes that aren't the library's, with all that is in them.
 *
 * @param module is taken over: use and dispose the result in its place. Its own class is forgotten, and with it
 *   {@link Module.spec} and the names of parameters
 * @throws KalmanNormError `INVALID_ARGUMENT` where it has no method forward
 *
 * @example
 * const { model } = await openModel('model.safetensors', device);
 * const folded = await foldNormalizations(model as Layer);
 * const logits = folded.forward(images);
 */
export async function foldNormalizations(
  module: Module & { forward(x: Tensor): Tensor },
): Promise<Module & { forward(x: Tensor): Tensor }> {
  checkObjects('foldNormalizations', { module });
  check(
    module instanceof Module && isNetwork(module),
    'INVALID_ARGUMENT',
    () => `foldNormalizations: expected a module with a method forward, got ${shown(module)}`,
  );
  const known: Known = { tensors: await knownTensors(module), filters: await standardizedFilters(module) };
  if (!(module instanceof Layer || module instanceof CifarResNet)) return module.eval() as typeof module;
  const network = inTurn(folded(inOrder(module), known)).eval();
  const kept = new Set(network.stateDict().values());
  for (const tensor of module.stateDict().values()) if (!kept.has(tensor)) tensor.dispose();
  return network;
}

/** What is known of the network's values on this side of the device. */
interface Known {
  readonly tensors: ReadonlyMap<Tensor, KnownTensor>;
  readonly filters: ReadonlyMap<Conv2d, Float32Array>;
}

/** What a module is in inference: layers one after the other. Classes that extend the library's own are others. */
function inOrder(module: Module): Layer[] {
  switch (module.constructor) {
    case Sequential:
      return (module as Sequential).layers.flatMap(inOrder);
    case ResNet:
      return inOrder((module as ResNet).net);
    case CifarResNet: {
      const { conv0, norm0, stage1, stage2, stage3, normLast, linear } = module as CifarResNet;
      return [conv0, norm0, ...stage1, ...stage2, ...stage3, normLast, new GlobalAvgPool2d(), linear].flatMap(inOrder);
    }
    case ResidualBlock:
    case ReferenceKalmanBlock: {
      const { norm1, conv1, norm2, conv2, widens, inChannels } = module as ResidualBlock | ReferenceKalmanBlock;
      const body = new Sequential(...(norm1 ? [norm1] : []), conv1, norm2, conv2);
      return [new Residual(body, widens ? new Sequential(new AvgPool2d(2), new PadChannels(inChannels / 2)) : null)];
    }
    case Unknown:
      return inOrder((module as Unknown).layer);
    case Identity:
    case Dropout:
      return [];
    default:
      return [module as Layer];
  }
}

/** Folds what can be folded in a row of layers. */
function folded(layers: readonly Layer[], known: Known): Part[] {
  const parts: Part[] = [];
  for (const layer of layers) {
    const last = parts.at(-1);
    if (layer.constructor === ReLU && last?.rectify()) continue;
    if (last instanceof Affine && byAverages.has(layer.constructor)) {
      parts.push(...last.takeUp(layer as RunningNorm, known).map((rest) => new Whole(rest)));
    } else {
      parts.push(partOf(layer, known));
    }
  }
  return parts;
}

function partOf(layer: Layer, known: Known): Part {
  switch (layer.constructor) {
    case Conv2d:
    case Linear:
      return new Affine(layer as Conv2d | Linear, known);
    case Residual: {
      const { body, shortcut } = layer as Residual;
      return new Sum(folded(inOrder(body), known), shortcut && inTurn(folded(inOrder(shortcut), known)));
    }
    case Concat:
      return new Whole(
        new Concat(...(layer as Concat).branches.map((branch) => inTurn(folded(inOrder(branch), known)))),
      );
    default:
      return new Whole(layer);
  }
}

function inTurn(parts: readonly Part[]): Layer {
  const layers = parts.map((part) => part.layer());
  return layers.length === 1
    ? (layers[0] as Layer)
    : new Sequential(...(layers.length > 0 ? layers : [new Identity()]));
}

/** A piece of the folded network that isn't settled yet. */
abstract class Part {
  /** Takes up the ReLU behind it, if it can. */
  rectify(): boolean {
    return false;
  }

  abstract layer(): Layer;
}

/** A layer that stays as it is. */
class Whole extends Part {
  constructor(private readonly source: Layer) {
    super();
  }

  override layer(): Layer {
    return this.source;
  }
}

/** The normalizations that begin, in inference, with a scale and a shift that are known. */
const byAverages: ReadonlySet<unknown> = new Set([
  BatchNorm2d,
  BatchNorm1d,
  SyncBatchNorm2d,
  BatchRenorm2d,
  BatchChannelNorm2d,
  KalmanNorm2d,
  ReferenceKalmanNorm2d,
]);

/** A convolution or linear layer, which may take up what is behind it. */
class Affine extends Part {
  private weight: Float32Array;
  private bias: Float32Array | null;
  private relu = false;
  private changed: boolean;

  constructor(
    private readonly source: Conv2d | Linear,
    { tensors, filters }: Known,
  ) {
    super();
    const standardized = source instanceof Conv2d ? filters.get(source) : undefined;
    this.weight = standardized ?? (tensors.get(source.weight) as KnownTensor).data;
    this.bias = source.bias && (tensors.get(source.bias) as KnownTensor).data;
    this.changed = standardized !== undefined;
  }

  override rectify(): boolean {
    if (this.source instanceof Linear) return false;
    this.changed = true;
    this.relu = true;
    return true;
  }

  /** Takes up a normalization behind it. @returns what is left of that */
  takeUp(norm: RunningNorm, { tensors }: Known): Layer[] {
    const values = (tensor: Tensor | null) => tensor && (tensors.get(tensor) as KnownTensor).data;
    const first = norm instanceof BatchChannelNorm2d ? { gamma: norm.batchGamma, beta: norm.batchBeta } : norm;
    const [gamma, beta] = [values(first.gamma), values(first.beta)];
    const [mean, variance] = [values(norm.runningMean), values(norm.runningVariance)] as [Float32Array, Float32Array];
    const scale = Float64Array.from(variance, (v, c) => (gamma?.[c] ?? 1) / Math.sqrt(v + norm.epsilon));
    const weight = this.weight.map((w, place) => w * (scale[this.outputOf(place)] as number));
    const bias = mean.map((m, c) => (beta?.[c] ?? 0) + ((this.bias?.[c] ?? 0) - m) * (scale[c] as number));
    // Else there is a ReLU between them, or float32 can't hold the products.
    if (this.relu || ![weight, bias].every((all) => all.every(Number.isFinite))) return [norm];
    [this.weight, this.bias, this.changed] = [weight, bias, true];
    if (norm instanceof BatchChannelNorm2d) return [groupsOf(norm)];
    return norm.relu && !this.rectify() ? [new ReLU()] : [];
  }

  /** The output that a weight belongs to, by its place in row-major order. */
  private outputOf(place: number): number {
    const { shape } = this.source.weight;
    return this.source instanceof Linear
      ? place % (shape[1] as number)
      : Math.floor((place * (shape[0] as number)) / this.weight.length);
  }

  /** Whether it is a convolution that a residual sum may end in: no ReLU comes before that. */
  get isOpen(): boolean {
    return this.source instanceof Conv2d && !this.relu;
  }

  override layer(): Layer {
    if (!this.changed) return this.source;
    return this.source instanceof Conv2d ? this.convolution() : this.linear(this.source);
  }

  convolution(): FoldedConv2d {
    const { source, weight, bias, relu } = this;
    const { device, shape } = source.weight;
    return new FoldedConv2d(device, { shape, weight, bias }, (source as Conv2d).options, relu);
  }

  private linear({ weight: { device, shape } }: Linear): Linear {
    const [inFeatures = 1, outFeatures = 1] = shape;
    // With random numbers of its own: the thread's stream stays where it is.
    const layer = new Linear(device, inFeatures, outFeatures, { random: new HostRandom(0) });
    layer.weight.write(this.weight);
    layer.bias?.write(this.bias as Float32Array);
    return layer;
  }
}

/** A residual sum, which takes up the ReLU behind it where its body ends in a convolution. */
class Sum extends Part {
  private relu = false;
  /** What the body ends in, where that is a convolution without a ReLU. */
  private readonly last: Affine | null;

  constructor(
    private readonly body: readonly Part[],
    private readonly shortcut: Layer | null,
  ) {
    super();
    const last = body.at(-1);
    this.last = last instanceof Affine && last.isOpen ? last : null;
  }

  override rectify(): boolean {
    this.relu = this.last !== null;
    return this.relu;
  }

  override layer(): Layer {
    const { body, last, shortcut, relu } = this;
    if (!last) return new Residual(inTurn(body), shortcut);
    return new FoldedResidual(body.length > 1 ? inTurn(body.slice(0, -1)) : null, last.convolution(), shortcut, relu);
  }
}

/** The second half of batch-channel normalization. */
function groupsOf(norm: BatchChannelNorm2d): GroupNorm {
  const { groups, channels, epsilon, relu, gamma, beta } = norm;
  const layer = new GroupNorm(norm.batchGamma.device, groups, channels, { epsilon, relu });
  if (gamma) layer.gamma?.copyFrom(gamma);
  if (beta) layer.beta?.copyFrom(beta);
  return layer;
}
