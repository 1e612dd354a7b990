import { checkObjects, shown } from '../arguments.js';
import { noGrad } from '../autograd.js';
import { check, KalmanNormError } from '../errors.js';
import { writeFileAtomic } from '../io/atomic-file.js';
import { checkDescription, type ModelDescription } from '../io/model-description.js';
import type { openModel } from '../io/model-file.js';
import { knownTensors, standardizedFilters } from '../nn/known-values.js';
import { Module } from '../nn/module.js';
import { checkOptions, type OptionNames } from '../options.js';
import { OnnxGraph, type OnnxValue } from './onnx-graph.js';
import { type OnnxContext, writeModule } from './onnx-layers.js';

/** Options of {@link exportOnnx}. What {@link openModel} returns has all that is needed. */
export interface ExportOnnxOptions extends ModelDescription {
  /** Sizes of what goes in, behind that of the batch. Default: [channels, height, width] of `input` */
  readonly shape?: readonly number[] | undefined;
  /**
   * Whether the graph takes pixels, float32 from 0 to 255, and applies `normalization` itself; otherwise it takes what the
   * network takes. Default: false
   */
  readonly pixels?: boolean | undefined;
}

/** What {@link openModel} returns may be handed on as it is. */
type Accepted = ExportOnnxOptions & Partial<Awaited<ReturnType<typeof openModel>>>;

const optionNames: OptionNames<Accepted> = {
  shape: true,
  pixels: true,
  classNames: true,
  input: true,
  normalization: true,
  architecture: true,
  metadata: true,
  model: true,
};

/**
 * Writes what a network computes in inference as an ONNX file (operator set 17, IR version 8), aside and renamed. The
 * input `input` is float32 [N, ...], the output is `output`; N is any number. Weights keep their names, and
 * standardized filters are written as they are used. Names of classes are in the metadata, as JSON, under `class_names`.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` where a layer isn't one of the library's, the size of the input isn't known,
 *   or `pixels` is asked for without a normalization; `SHAPE_MISMATCH` where the network can't take the input; an old
 *   file is unchanged then
 *
 * @example
 * const { model, ...about } = await openModel('model.safetensors', device);
 * await exportOnnx('model.onnx', model, { ...about, pixels: true });
 */
export async function exportOnnx(path: string, module: Module, options: ExportOnnxOptions = {}): Promise<void> {
  await writeFileAtomic(path, await serializeOnnx(module, options));
}

/**
 * The content of the file that {@link exportOnnx} writes.
 *
 * @throws KalmanNormError as there
 */
export async function serializeOnnx(module: Module, options: ExportOnnxOptions = {}): Promise<Uint8Array> {
  checkObjects('exportOnnx', { module });
  checkOptions<Accepted>('exportOnnx', options, optionNames);
  check(module instanceof Module, 'INVALID_ARGUMENT', () => `exportOnnx: expected a module, got ${shown(module)}`);
  const { classNames, input: size, normalization, pixels = false } = options;
  checkDescription({ classNames, input: size, normalization }, (message) => {
    throw new KalmanNormError('INVALID_ARGUMENT', `exportOnnx: ${message}`);
  });
  const shape = options.shape ?? (size && [size.channels, size.height, size.width]);
  check(
    Array.isArray(shape) && shape.length > 0 && shape.every((length) => Number.isInteger(length) && length >= 1),
    'INVALID_ARGUMENT',
    () =>
      `exportOnnx: input or shape must say the sizes of the input, whole numbers of at least 1, got ${Array.isArray(shape) ? `[${shape.join(', ')}]` : shown(shape)}`,
  );
  const [tensors, filters] = [await knownTensors(module), await standardizedFilters(module)];
  const device = [...tensors.keys()][0]?.device;
  check(device !== undefined, 'INVALID_ARGUMENT', 'exportOnnx: the network has no parameters');

  const context: OnnxContext = { graph: new OnnxGraph(), device, tensors, filters };
  const input: OnnxValue = { name: 'input', shape: shape as readonly number[] };
  const start = pixels ? normalized(input, options, context) : input;
  const output = inInference(module, () => writeModule(module, start, context));
  const metadata = classNames ? { class_names: JSON.stringify(classNames) } : {};
  return context.graph.serialize(
    module.constructor.name,
    input,
    { name: 'output', shape: output.shape, from: output.name },
    metadata,
  );
}

/** (pixel - mean)·scale */
function normalized(x: OnnxValue, { normalization }: ExportOnnxOptions, { graph }: OnnxContext): OnnxValue {
  check(
    normalization !== undefined && x.shape.length === 3,
    'INVALID_ARGUMENT',
    'exportOnnx: pixels needs a normalization, and images as the input',
  );
  const { mean, scale } = normalization;
  const [channels = 1] = x.shape;
  const constant = (name: string, values: ArrayLike<number>) =>
    graph.floats(name, values.length === channels ? [channels, 1, 1] : x.shape, Float32Array.from(values));
  const factor = typeof scale === 'number' ? graph.float(scale) : constant('normalization.scale', scale);
  const centred = graph.node('Sub', [x.name, constant('normalization.mean', mean)]);
  return { name: graph.node('Mul', [centred, factor]), shape: x.shape };
}

/** Calls `body` with the network in inference mode, and puts every part back into its own. */
function inInference<T>(module: Module, body: () => T): T {
  const modes = module.modules().map((part) => [part, part.training] as const);
  module.eval();
  try {
    return noGrad(body);
  } finally {
    for (const [part, training] of modes) part.training = training;
  }
}
