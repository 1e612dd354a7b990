import { KalmanNormError } from '../errors.js';
import { CifarResNet } from '../models/cifar-resnet.js';
import { NormalizerFreeBlock } from '../models/normalizer-free-block.js';
import { ReferenceKalmanBlock } from '../models/reference-kalman-block.js';
import { type Block, ResidualBlock } from '../models/residual-block.js';
import { ResNet } from '../models/resnet.js';
import { EvoNormS0, FilterResponseNorm2d } from '../nn/activated-norm.js';
import { AvgPool2d, GlobalAvgPool2d, ReLU } from '../nn/activation.js';
import { BatchChannelNorm2d } from '../nn/batch-channel-norm.js';
import { BatchNorm1d, BatchNorm2d } from '../nn/batch-norm.js';
import { BatchRenorm2d } from '../nn/batch-renorm.js';
import { Concat } from '../nn/concat.js';
import { Conv2d } from '../nn/conv2d.js';
import { Dropout } from '../nn/dropout.js';
import { AdaptiveAvgPool2d, Flatten, Identity } from '../nn/flatten.js';
import { GroupKalmanNorm2d } from '../nn/group-kalman-norm.js';
import { GroupNorm } from '../nn/group-norm.js';
import { KalmanNorm2d } from '../nn/kalman-norm.js';
import type { KnownTensor } from '../nn/known-values.js';
import { InstanceNorm2d, LayerNorm } from '../nn/layer-norm.js';
import { Linear } from '../nn/linear.js';
import { MaxPool2d } from '../nn/max-pool.js';
import type { Layer, Module } from '../nn/module.js';
import { MovingAverageBatchNorm2d } from '../nn/moving-average-norm.js';
import type { Norm, RunningNorm } from '../nn/norm.js';
import { GELU, LeakyReLU, LogSoftmax, Sigmoid, SiLU, Softmax, Tanh } from '../nn/pointwise.js';
import { ReferenceKalmanNorm2d } from '../nn/reference-kalman-norm.js';
import { Residual } from '../nn/residual.js';
import { ScaledAffine2d } from '../nn/scaled-affine.js';
import { Sequential } from '../nn/sequential.js';
import { SyncBatchNorm2d } from '../nn/sync-batch-norm.js';
import { Unknown } from '../nn/unknown.js';
import { convShape } from '../ops/conv2d.js';
import { scope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import type { OnnxGraph, OnnxValue } from './onnx-graph.js';

/** A graph in the making, and what its network knows. */
export interface OnnxContext {
  readonly graph: OnnxGraph;
  readonly device: Device;
  /** Parameters and buffers by tensor. */
  readonly tensors: ReadonlyMap<Tensor, KnownTensor>;
  /** Filters as samples meet them, where they aren't the weights. */
  readonly filters: ReadonlyMap<Conv2d, Float32Array>;
}

type Writer<M extends Module> = (module: M, x: OnnxValue, context: OnnxContext) => OnnxValue;

/** How each class is written; a class that extends one of them is another layer, and isn't found. */
const writers = new Map<unknown, Writer<Module>>();

type ModuleClass = abstract new (...args: never[]) => Module;

function writes<T extends ModuleClass>(classes: readonly T[], writer: Writer<InstanceType<T>>): void {
  for (const type of classes) writers.set(type, writer as Writer<Module>);
}

/**
 * Adds what a module does in inference to the graph.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for a class that isn't one of the library's
 */
export function writeModule(module: Module, x: OnnxValue, context: OnnxContext): OnnxValue {
  const writer = writers.get(module.constructor);
  if (!writer) {
    throw new KalmanNormError(
      'INVALID_ARGUMENT',
      `exportOnnx: ${module.constructor.name} can't be expressed; of layers of your own, export the parts that are the library's`,
    );
  }
  return writer(module, x, context);
}

writes([Conv2d], (conv, x, context) => {
  const { graph, filters } = context;
  const { shape } = conv.weight;
  const filter = filters.get(conv);
  const [strideH, strideW, top, left, bottom, right, dilationH = 1, dilationW = 1, group = 1] = convShape(
    [1, ...x.shape],
    shape,
    conv.options,
  );
  const name = graph.node(
    'Conv',
    [
      x.name,
      filter ? graph.floats(nameOf(conv.weight, context), shape, filter) : constant(conv.weight, context),
      ...(conv.bias ? [constant(conv.bias, context)] : []),
    ],
    {
      kernel_shape: shape.slice(2),
      strides: [strideH, strideW],
      // Explicit: "same" with stride 2 means other sides to other frameworks.
      pads: [top, left, bottom, right],
      dilations: [dilationH, dilationW],
      group,
    },
  );
  return { name, shape: shapeBehind(conv, x, context) };
});

writes([Linear], (layer, x, context) => {
  const parts = [layer.weight, ...(layer.bias ? [layer.bias] : [])].map((tensor) => constant(tensor, context));
  return { name: context.graph.node('Gemm', [x.name, ...parts]), shape: shapeBehind(layer, x, context) };
});

writes([ReLU], (_, x, { graph }) => pointwise(graph.node('Relu', [x.name]), x));
writes([LeakyReLU], ({ slope }, x, { graph }) =>
  pointwise(graph.node('LeakyRelu', [x.name], { alpha: { float: slope } }), x),
);
writes([Sigmoid], (_, x, { graph }) => pointwise(graph.node('Sigmoid', [x.name]), x));
writes([Tanh], (_, x, { graph }) => pointwise(graph.node('Tanh', [x.name]), x));
writes([Softmax], ({ axis }, x, { graph }) => pointwise(graph.node('Softmax', [x.name], { axis }), x));
writes([LogSoftmax], ({ axis }, x, { graph }) => pointwise(graph.node('LogSoftmax', [x.name], { axis }), x));
writes([SiLU], (_, x, { graph }) => pointwise(graph.node('Mul', [x.name, graph.node('Sigmoid', [x.name])]), x));
writes([GELU], (_, x, { graph }) => {
  // x·Φ(x) = x·(1 + erf(x / √2)) / 2
  const erf = graph.node('Erf', [graph.node('Mul', [x.name, graph.float(Math.SQRT1_2)])]);
  const below = graph.node('Mul', [graph.node('Add', [erf, graph.float(1)]), graph.float(0.5)]);
  return pointwise(graph.node('Mul', [x.name, below]), x);
});
writes([Identity, Dropout], (_, x) => x);
writes([Unknown], ({ layer }, x, context) => writeModule(layer, x, context));

writes([AvgPool2d], (pool, x, context) => averagePool(pool, pool.size, x, context));
writes([GlobalAvgPool2d], (_, x, context) => globalAveragePool(x, context));
writes([AdaptiveAvgPool2d], (pool, x, context) => {
  const [, height = 1] = x.shape;
  if (pool.size > 1) return averagePool(pool, height / pool.size, x, context);
  return { name: context.graph.node('GlobalAveragePool', [x.name]), shape: shapeBehind(pool, x, context) };
});
writes([MaxPool2d], (pool, x, context) => {
  const both = (value: number | readonly [number, number]) => (typeof value === 'number' ? [value, value] : value);
  const { stride = pool.kernel, padding = 0 } = pool.options;
  const attributes = {
    kernel_shape: both(pool.kernel),
    strides: both(stride),
    pads: [...both(padding), ...both(padding)],
  };
  return { name: context.graph.node('MaxPool', [x.name], attributes), shape: shapeBehind(pool, x, context) };
});
writes([Flatten], (flatten, x, context) => ({
  name: context.graph.node('Flatten', [x.name]),
  shape: shapeBehind(flatten, x, context),
}));

writes([Sequential], ({ layers }, x, context) => inTurn(layers, x, context));
writes([Residual], ({ body, shortcut }, x, context) => {
  const side = shortcut ? writeModule(shortcut, x, context) : x;
  return sum(side, writeModule(body, x, context), context);
});
writes([Concat], (concat, x, context) => {
  const parts = concat.branches.map((branch) => writeModule(branch, x, context).name);
  return { name: context.graph.node('Concat', parts, { axis: 1 }), shape: shapeBehind(concat, x, context) };
});

// In inference they are one: a scale and a shift from running averages.
writes(
  [
    BatchNorm2d,
    BatchNorm1d,
    SyncBatchNorm2d,
    BatchRenorm2d,
    MovingAverageBatchNorm2d,
    KalmanNorm2d,
    ReferenceKalmanNorm2d,
  ],
  (norm, x, context) => rectified(norm, byAverages(norm, norm, x, context), context),
);
writes([ScaledAffine2d], (layer, x, context) => {
  const { graph } = context;
  const scaled = graph.node('Mul', [affine(layer, x.name, x.shape, context), graph.float(layer.factor)]);
  return rectified(layer, pointwise(scaled, x), context);
});
writes([GroupKalmanNorm2d], (norm, x, context) => {
  // A group's averages, once for each of its channels.
  const [mean, variance] = [norm.runningMean, norm.runningVariance].map((tensor) => {
    const { name, data } = context.tensors.get(tensor) as KnownTensor;
    const each = Float32Array.from(
      { length: norm.channels },
      (_, c) => data[Math.floor((c * norm.groups) / norm.channels)] as number,
    );
    return context.graph.floats(`${name} of channels`, [norm.channels], each);
  }) as [string, string];
  const own = [norm.gamma, norm.beta].map((tensor) => constant(tensor, context));
  const inputs = [x.name, ...own, mean, variance];
  const name = context.graph.node('BatchNormalization', inputs, { epsilon: { float: norm.epsilon } });
  return rectified(norm, pointwise(name, x), context);
});
writes([GroupNorm], (norm, x, context) => byGroups(norm, norm.groups, x, context));
writes([LayerNorm], (norm, x, context) => byGroups(norm, 1, x, context));
writes([InstanceNorm2d], (norm, x, context) => byGroups(norm, norm.channels, x, context));
writes([BatchChannelNorm2d], (norm, x, context) => {
  const first = byAverages(norm, { gamma: norm.batchGamma, beta: norm.batchBeta }, x, context);
  return byGroups(norm, norm.groups, first, context);
});

writes([FilterResponseNorm2d], (norm, x, context) => {
  const { graph } = context;
  const power = graph.node('ReduceMean', [graph.node('Mul', [x.name, x.name])], { axes: [2, 3], keepdims: 1 });
  const scaled = graph.node('Mul', [divided(x.name, power, norm.epsilon, graph), column(norm.gamma, context)]);
  const shifted = graph.node('Add', [scaled, column(norm.beta, context)]);
  return pointwise(graph.node('Max', [shifted, column(norm.tau, context)]), x);
});
writes([EvoNormS0], (norm, x, context) => {
  const { graph } = context;
  const grouped = inGroups(x.name, norm.groups, graph);
  const mean = graph.node('ReduceMean', [grouped], { axes: [2], keepdims: 1 });
  const deviation = graph.node('Sub', [grouped, mean]);
  const variance = graph.node('ReduceMean', [graph.node('Mul', [deviation, deviation])], { axes: [2], keepdims: 1 });
  const gate = graph.node('Sigmoid', [graph.node('Mul', [x.name, column(norm.v, context)])]);
  const gated = inGroups(graph.node('Mul', [x.name, gate]), norm.groups, graph);
  const whole = graph.node('Reshape', [divided(gated, variance, norm.epsilon, graph), graph.ints([0, ...x.shape])]);
  return pointwise(affine(norm, whole, x.shape, context), x);
});

writes([CifarResNet], (net, x, context) => {
  const blocks = [...net.stage1, ...net.stage2, ...net.stage3];
  const features = inTurn([net.conv0, net.norm0, ...blocks, net.normLast], x, context);
  return writeModule(net.linear, globalAveragePool(features, context), context);
});
writes([ResNet], ({ net }, x, context) => writeModule(net, x, context));
writes([ResidualBlock, ReferenceKalmanBlock], (block, x, context) => {
  const { norm1, conv1, norm2, conv2 } = block;
  const branch = inTurn([...(norm1 ? [norm1] : []), conv1, norm2, conv2], x, context);
  return sum(shortcut(block, x, context), branch, context);
});

writes([NormalizerFreeBlock], (block, x, context) => {
  const { norm1, conv1, norm2, conv2, norm3, side } = block;
  const branch = inTurn([norm1, conv1, norm2, conv2, norm3], x, context);
  return sum(inTurn(side ? [side] : [], shortcut(block, x, context), context), branch, context);
});

/** The shortcut of a widening block: 2 × 2 averages, and channels of zeros on either side. */
function shortcut({ widens, inChannels }: Block, x: OnnxValue, context: OnnxContext): OnnxValue {
  if (!widens) return x;
  const pooled = averagePool(new AvgPool2d(2), 2, x, context);
  const [, ...pixels] = pooled.shape;
  const pad = inChannels / 2;
  const pads = context.graph.ints([0, pad, 0, 0, 0, pad, 0, 0]);
  return { name: context.graph.node('Pad', [pooled.name, pads]), shape: [2 * inChannels, ...pixels] };
}

function inTurn(modules: readonly Module[], x: OnnxValue, context: OnnxContext): OnnxValue {
  return modules.reduce((value, module) => writeModule(module, value, context), x);
}

function pointwise(name: string, { shape }: OnnxValue): OnnxValue {
  return { name, shape };
}

function sum(a: OnnxValue, b: OnnxValue, { graph }: OnnxContext): OnnxValue {
  // Both broadcast by NumPy's rule; the larger side of each axis is the sum's.
  const [long, short] = a.shape.length < b.shape.length ? [b.shape, a.shape] : [a.shape, b.shape];
  const offset = long.length - short.length;
  const shape = long.map((size, axis) => Math.max(size, short[axis - offset] ?? 1));
  return { name: graph.node('Add', [a.name, b.name]), shape };
}

function averagePool(pool: Layer, size: number, x: OnnxValue, context: OnnxContext): OnnxValue {
  const name = context.graph.node('AveragePool', [x.name], { kernel_shape: [size, size], strides: [size, size] });
  return { name, shape: shapeBehind(pool, x, context) };
}

/** [N, C, H, W] to [N, C]. */
function globalAveragePool(x: OnnxValue, { graph }: OnnxContext): OnnxValue {
  const name = graph.node('Flatten', [graph.node('GlobalAveragePool', [x.name])]);
  return { name, shape: x.shape.slice(0, 1) };
}

/** The sizes that a layer makes of others, which it also checks: it is run with one sample. */
function shapeBehind(layer: Layer, { shape }: OnnxValue, { device }: OnnxContext): readonly number[] {
  return scope(() => layer.forward(device.zeros([1, ...shape])).shape.slice(1));
}

interface OwnAffine {
  readonly gamma: Tensor | null;
  readonly beta: Tensor | null;
}

/** (x - mean) / sqrt(variance + epsilon)·gamma + beta with running averages. */
function byAverages(norm: RunningNorm, own: OwnAffine, x: OnnxValue, context: OnnxContext): OnnxValue {
  const { graph } = context;
  const { channels, epsilon, runningMean, runningVariance } = norm;
  const filled = (value: number) =>
    graph.floats(`${value} × ${channels}`, [channels], new Float32Array(channels).fill(value));
  const scale = own.gamma ? constant(own.gamma, context) : filled(1);
  const shift = own.beta ? constant(own.beta, context) : filled(0);
  const averages = [runningMean, runningVariance].map((tensor) => constant(tensor, context));
  const inputs = [x.name, scale, shift, ...averages];
  return pointwise(graph.node('BatchNormalization', inputs, { epsilon: { float: epsilon } }), x);
}

/** By the mean and variance of each sample's groups of channels; then the layer's scale, shift and ReLU. */
function byGroups(norm: Norm, groups: number, x: OnnxValue, context: OnnxContext): OnnxValue {
  const { graph } = context;
  const filled = (value: number) =>
    graph.floats(`${value} × ${groups}`, [groups], new Float32Array(groups).fill(value));
  const inputs = [inGroups(x.name, groups, graph), filled(1), filled(0)];
  const normalized = graph.node('InstanceNormalization', inputs, { epsilon: { float: norm.epsilon } });
  const whole = graph.node('Reshape', [normalized, graph.ints([0, ...x.shape])]);
  return rectified(norm, pointwise(affine(norm, whole, x.shape, context), x), context);
}

/** [N, C, ...] as [N, groups, values]. */
function inGroups(name: string, groups: number, graph: OnnxGraph): string {
  return graph.node('Reshape', [name, graph.ints([0, groups, -1])]);
}

/** x / sqrt(power + epsilon) */
function divided(x: string, power: string, epsilon: number, graph: OnnxGraph): string {
  return graph.node('Div', [x, graph.node('Sqrt', [graph.node('Add', [power, graph.float(epsilon)])])]);
}

/** x·gamma + beta per channel of [N, ...shape]. */
function affine({ gamma, beta }: OwnAffine, x: string, shape: readonly number[], context: OnnxContext): string {
  const { graph } = context;
  const perChannel = (tensor: Tensor) => (shape.length === 1 ? constant(tensor, context) : column(tensor, context));
  const scaled = gamma ? graph.node('Mul', [x, perChannel(gamma)]) : x;
  return beta ? graph.node('Add', [scaled, perChannel(beta)]) : scaled;
}

function rectified({ relu }: { readonly relu: boolean }, x: OnnxValue, { graph }: OnnxContext): OnnxValue {
  return relu ? pointwise(graph.node('Relu', [x.name]), x) : x;
}

function nameOf(tensor: Tensor, { tensors }: OnnxContext): string {
  return (tensors.get(tensor) as KnownTensor).name;
}

/** A parameter or buffer under its own name. */
function constant(tensor: Tensor, { graph, tensors }: OnnxContext): string {
  const { name, shape, data } = tensors.get(tensor) as KnownTensor;
  return graph.floats(name, shape, data);
}

/** A vector [C] as [C, 1, 1], which broadcasts to samples. */
function column(tensor: Tensor, { graph, tensors }: OnnxContext): string {
  const { name, data } = tensors.get(tensor) as KnownTensor;
  return graph.floats(name, [data.length, 1, 1], data);
}
