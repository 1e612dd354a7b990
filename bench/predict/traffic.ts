import type { Handle } from '../../lib/addon/contract.js';
import { native } from '../../lib/addon/load.js';
import { volume } from '../support/values.js';

/** The operations of a step, by name. */
export interface Traffic {
  name: string;
  calls: number;
  /** Bytes that must move: every input read once, every output written once. */
  needed: number;
  /** Bytes that our kernels move. */
  moved: number;
  /** Floating-point operations of convolutions and matrix products. */
  operations: number;
}

/** An operation's arguments by name. */
type Arguments = Readonly<Record<string, unknown>>;
type Calls = Record<string, (args: Arguments) => unknown>;

/** Functions that launch nothing, or belong to the set-up. */
const ignored = /^(setErrorClass|signatures|create.*|cudaDevices|upload|write|download|full|empty|grow|fill)$/;

/** What kernels read again, beside every input once. The comments above `run` in native/cuda say the same. */
const readAgain: Readonly<Record<string, (args: Arguments, halved: boolean) => unknown[]>> = {
  // Where a gradient doesn't stay in 16 bits, they are written and read beside its float32.
  conv2dBackwardWeights: ({ w, rounded }, halved) => (halved && !rounded ? [w] : []),
  // The moments are a pass of their own.
  centerObserved: ({ y }) => [y],
  // The optimizer writes a filter's 16 bits.
  sgd: ({ parameters }, halved) =>
    (parameters as { weight: Handle }[]).flatMap(({ weight }) =>
      halved && weight.format === 'filter' ? [half(weight)] : [],
    ),
  // The moments are a pass of their own, unless they are given, or a split is one block's.
  batchNorm: ({ x, splits, mean }, halved) => (mean || oneBlock(x, splits, halved) ? [] : [x]),
  groupNorm: ({ x }) => [x],
  weightStandardize: ({ w }) => [w],
  kalmanNorm: ({ x, observationMean }) => (observationMean ? [] : [x]),
  adaptiveKalmanNorm: ({ x, splits, observationMean }, halved) =>
    observationMean || oneBlock(x, splits, halved) ? [] : [x],
  batchNormBackward: ({ x, dy, splits }, halved) => (oneBlock(x, splits, halved) ? [] : [x, dy]),
  groupNormBackward: ({ x, dy }) => [x, dy],
  weightStandardizeBackward: ({ w, dy }) => [w, dy],
  kalmanNormBackward: ({ x, dy }) => [x, dy],
  adaptiveKalmanNormBackward: ({ x, dy, splits }, halved) => (oneBlock(x, splits, halved) ? [] : [x, dy]),
};

/**
 * Whether all rows of a split are one block's, which finds in the caches what it looks at again: where `wholeSplits` of
 * native/cuda/device has a single chunk.
 */
function oneBlock(x: unknown, splits: unknown, halved: boolean): boolean {
  const [samples = 0, channels = 0, height = 1, width = 1] = (x as Handle).shape;
  const bytes = halved ? 2 : 4;
  const pack = channels % (16 / bytes) === 0 ? 16 / bytes : 1;
  const slabs = Math.ceil((channels * bytes) / 64);
  const rows = (samples / (splits as number)) * height * width;
  const threadRows = Math.min(Math.floor(256 / Math.ceil(channels / pack / slabs)), rows);
  return rows <= threadRows * ((splits as number) * slabs >= 64 ? 32 : 8);
}

/** Arguments that tell a shape only. */
const shapeOnly: Readonly<Record<string, string>> = {
  conv2dBackwardData: 'x',
  conv2dBackwardWeights: 'w',
  avgPool2dBackward: 'x',
  globalAvgPoolBackward: 'x',
  padChannelsBackward: 'x',
};

/** Gradients of filters that are stored in 16 bits. */
const rounded = new WeakSet<object>();

/** Runs `body` and tells what it launched. `halved`: whether activations are stored in 16 bits. */
export function trafficOf(body: () => void, halved: boolean): Traffic[] {
  const addon = native as unknown as Calls;
  const originals = { ...addon };
  const found = new Map<string, Traffic>();
  for (const [name, original] of Object.entries(originals)) {
    if (typeof original !== 'function' || ignored.test(name)) continue;
    addon[name] = (args) => {
      const result = original(args);
      if (name === 'conv2dBackwardWeights' && args.rounded && halved) rounded.add(result as Handle);
      if (name === 'addEach') noteSums(found, args, result, halved);
      else note(found, name, args, result, halved);
      return result;
    };
  }
  try {
    body();
  } finally {
    Object.assign(addon, originals);
  }
  return [...found.values()];
}

/** A gradient that is alone, and stored as float32, is handed back as it is. */
function noteSums(found: Map<string, Traffic>, args: Arguments, result: unknown, halved: boolean) {
  const pairs = args.pairs as readonly { a: Handle; b: Handle | null }[];
  const summed = pairs.map(({ a, b }) => b !== null || rounded.has(a));
  const those = (list: unknown) => (list as unknown[]).filter((_, i) => summed[i]);
  if (summed.includes(true)) note(found, 'addEach', { pairs: those(pairs) }, those(result), halved);
}

function note(found: Map<string, Traffic>, name: string, args: Arguments, result: unknown, halved: boolean) {
  const bytes = (value: unknown) => sizeOf(value, halved);
  const entry = found.get(name) ?? { name, calls: 0, needed: 0, moved: 0, operations: 0 };
  const read = Object.entries(args).filter(([parameter]) => parameter !== shapeOnly[name]);
  const needed =
    read.reduce((sum, [, arg]) => sum + bytes(arg), 0) + bytes(result) - bytes(notRead(name, args, halved));
  entry.calls++;
  entry.needed += needed;
  entry.moved += needed + (readAgain[name]?.(args, halved) ?? []).reduce<number>((sum, arg) => sum + bytes(arg), 0);
  entry.operations += operationsOf(name, args, result);
  found.set(name, entry);
}

/**
 * What an argument holds besides what is read: the real samples of a Kalman layer's output, in its backward; of a filter
 * that is kept in 16 bits too, its float32.
 */
function notRead(name: string, args: Arguments, halved: boolean): unknown {
  if (halved && (name === 'conv2d' || name === 'conv2dBackwardData')) return half(args.w as Handle);
  if (name !== 'kalmanNormBackward') return null;
  const y = args.y as Handle;
  const [samples = 0, ...rest] = y.shape;
  const drawn = args.sample ? (args.splits as number) : 0;
  return { dtype: y.dtype, format: y.format, share: y.share, shape: [samples - drawn, ...rest] };
}

/** As many bytes as a tensor's values have in 16 bits. */
function half({ dtype, format, share, shape: [first = 0, ...rest] }: Handle): unknown {
  return { dtype, format, share, shape: [first / 2, ...rest] };
}

function isHandle(value: unknown): value is Handle {
  return typeof value === 'object' && value !== null && 'share' in value && 'shape' in value;
}

function sizeOf(value: unknown, halved: boolean): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, entry) => sum + sizeOf(entry, halved), 0);
  if (!isHandle(value)) {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return 0;
    return Object.values(value).reduce<number>((sum, entry) => sum + sizeOf(entry, halved), 0);
  }
  const count = volume(value.shape);
  const short = halved && ((value.format === 'activation' && value.shape.length === 4) || rounded.has(value));
  return count * (value.dtype === 'uint8' ? 1 : short ? 2 : 4);
}

/** Two for each product of a convolution. */
function operationsOf(name: string, args: Arguments, result: unknown): number {
  const products: Readonly<Record<string, unknown>> = {
    conv2d: result,
    conv2dBackwardData: args.dy,
    conv2dBackwardWeights: args.dy,
  };
  if (!(name in products)) return 0;
  const filter = (args.w as Handle).shape;
  return (2 * volume((products[name] as Handle).shape) * volume(filter)) / (filter[0] as number);
}
