import { type Addon, type Handle, native } from '../../lib/native.js';

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

type Calls = Record<string, (...args: never[]) => unknown>;

/** Functions that launch nothing, or belong to the set-up. */
const ignored = /^(setErrorClass|cpuUnsupported|create.*|cudaDevices|upload|write|download|full|empty|grow|fill)$/;

/**
 * What kernels read again, beside every input once; in arguments of the function, or in properties of its first. The
 * comments above `run` in native/cuda say the same.
 */
const readAgain: Readonly<Record<string, (args: readonly unknown[]) => unknown[]>> = {
  // The moments are a pass of their own, unless they are given.
  batchNorm: ([x, , , , , , mean]) => (mean ? [] : [x]),
  groupNorm: ([x]) => [x],
  kalmanUpdate: ([input]) => {
    const { x, observationMean } = input as { x: unknown; observationMean: unknown };
    return observationMean ? [] : [x];
  },
  batchNormBackward: ([x, dy]) => [x, dy],
  groupNormBackward: ([x, dy]) => [x, dy],
  normalizeBackward: () => [],
  kalmanUpdateBackward: ([input, , dy]) => [(input as { x: unknown }).x, dy],
};

/** Arguments that tell a shape only. */
const shapeOnly: Readonly<Record<string, number>> = {
  conv2dBackwardData: 2,
  conv2dBackwardWeights: 2,
  avgPoolBackward: 1,
  globalAvgPoolBackward: 1,
  padChannelsBackward: 1,
};

/** Runs `body` and tells what it launched. `halved`: whether activations are stored in 16 bits. */
export function trafficOf(body: () => void, halved: boolean): Traffic[] {
  const addon = native as unknown as Calls;
  const originals = { ...addon };
  const found = new Map<string, Traffic>();
  for (const [name, original] of Object.entries(originals)) {
    if (typeof original !== 'function' || ignored.test(name)) continue;
    addon[name] = (...args: never[]) => {
      const result = original(...args);
      note(found, name as keyof Addon, args, result, halved);
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

function note(found: Map<string, Traffic>, name: string, args: readonly unknown[], result: unknown, halved: boolean) {
  const bytes = (value: unknown) => sizeOf(value, halved);
  const entry = found.get(name) ?? { name, calls: 0, needed: 0, moved: 0, operations: 0 };
  const read = args.filter((_, i) => i !== shapeOnly[name]);
  const needed = read.reduce<number>((sum, arg) => sum + bytes(arg), 0) + bytes(result) - bytes(notRead(name, args));
  entry.calls++;
  entry.needed += needed;
  entry.moved += needed + (readAgain[name]?.(args) ?? []).reduce<number>((sum, arg) => sum + bytes(arg), 0);
  entry.operations += operationsOf(name, args, result);
  found.set(name, entry);
}

/** What an argument holds besides what is read: the real samples of a Kalman layer's output, in its backward. */
function notRead(name: string, args: readonly unknown[]): unknown {
  if (name !== 'kalmanUpdateBackward') return null;
  const { y } = args[1] as { y: Handle };
  const { splits, sample } = args[5] as { splits: number; sample: boolean };
  const [samples = 0, ...rest] = y.shape;
  return { dtype: y.dtype, format: y.format, share: y.share, shape: [samples - (sample ? splits : 0), ...rest] };
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
  const count = value.shape.reduce((product, size) => product * size, 1);
  const short = halved && value.format === 'activation' && value.shape.length === 4;
  return count * (value.dtype === 'uint8' ? 1 : short ? 2 : 4);
}

/** Two for each product of a convolution. */
function operationsOf(name: string, args: readonly unknown[], result: unknown): number {
  const shape = (value: unknown) => (value as Handle).shape;
  const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
  const perPixel = (filter: readonly number[]) => count(filter) / filter[0]!;
  if (name === 'conv2d') return 2 * count(shape(result)) * perPixel(shape(args[1]));
  if (name === 'conv2dBackwardData') return 2 * count(shape(args[0])) * perPixel(shape(args[1]));
  if (name === 'conv2dBackwardWeights') return 2 * count(shape(args[1])) * perPixel(shape(args[2]));
  return 0;
}
