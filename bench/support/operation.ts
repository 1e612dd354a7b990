import { backward, type Device, DeviceRandom, type Program, scope, type Tensor } from '../../lib/index.js';
import type { Case, Context } from './case.js';
import { measureWork } from './measure.js';
import type { Row } from './table.js';
import { volume } from './values.js';

/** Shapes that normalizations meet in the CIFAR networks at batch 128. */
const cifarShapes = [
  [128, 16, 32, 32],
  [128, 32, 16, 16],
  [128, 64, 8, 8],
] as const;

/** Shapes that they meet in ResNet-50 at batch 32. */
const imageNetShapes = [
  [32, 64, 112, 112],
  [32, 256, 56, 56],
  [32, 512, 28, 28],
  [32, 1024, 14, 14],
  [32, 2048, 7, 7],
] as const;

/** [N, C, H, W]. */
export type Shape = readonly [number, number, number, number];

/** The shapes of operations; in a smoke test a small one. */
export function operationShapes(smoke: boolean): readonly Shape[] {
  return smoke ? [[4, 8, 6, 6]] : [...cifarShapes, ...imageNetShapes];
}

/** An operation to measure in both directions. */
export interface Operation {
  /** The case's name is this, the direction and the shape. */
  name: string;
  shape: Shape;
  /**
   * Tensors that must be read and written at least once, in multiples of `shape`: 2 for a forward that maps one tensor to
   * another, 3 for its backward (the input, the output's gradient, the input's). Null where memory isn't what limits it.
   */
  traffic: { forward: number; backward: number } | null;
  /** Makes the operands, and returns the forward: its outputs that get gradients. */
  make(device: Device, random: DeviceRandom): () => Tensor[];
}

/**
 * The cases of an operation. It is recorded and replayed, so that JavaScript's time isn't part of the figure; eager
 * overhead has its own suite.
 */
export function operationCases(operation: Operation): Case[] {
  return (['forward', 'backward'] as const).map((direction) => {
    const name = `${operation.name} ${direction} ${operation.shape.join('x')}`;
    return { name, run: async (context) => [await measureOperation(operation, direction, name, context)] };
  });
}

async function measureOperation(
  { shape, traffic, make }: Operation,
  direction: 'forward' | 'backward',
  name: string,
  context: Context,
): Promise<Row> {
  const { device } = context;
  const random = new DeviceRandom(device, 1);
  const record = direction === 'forward' ? recordForward : recordBackward;
  const program = record(device, () => make(device, random));
  random.dispose();
  const summary = await measureWork(device, (count) => program.run(count), context.effort(20));
  program.dispose();
  const row: Row = { name, unit: 'ms', ...summary };
  if (!traffic) return row;
  const gigabytesPerSecond = (traffic[direction] * context.valueBytes * volume(shape)) / summary.median / 1e6;
  return { ...row, gigabytesPerSecond, ofCopy: gigabytesPerSecond / (await context.copyRate(shape)) };
}

/** The operands are freed with the scope; the program keeps the memory that it uses. */
function recordForward(device: Device, make: () => () => Tensor[]): Program {
  return scope(() => {
    const forward = make();
    // First uses are no part of a recording.
    scope(forward);
    return device.record(() => {
      scope(forward);
    }).program;
  });
}

function recordBackward(device: Device, make: () => () => Tensor[]): Program {
  return scope(() => {
    const outputs = make()();
    const gradients = outputs.map(({ shape, format }) => device.ones(shape, { format }));
    scope(() => backward(make()(), gradients));
    return device.record(() => backward(outputs, gradients)).program;
  });
}
