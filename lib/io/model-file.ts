/**
 * Model files: safetensors whose metadata says what the network is. The entry `kalman_norm` of the file's metadata is JSON:
 *
 *     { "version": 1,
 *       "architecture": spec | null,
 *       "classNames"?: [text], "input"?: { "channels", "height", "width" },
 *       "normalization"?: { "mean": [number] | "tensor", "scale": number | [number] } }
 *
 * A mean image is the tensor `kalman_norm.mean` of the file, [C, H, W]. Nothing in a file is code.
 */

import type { TensorData } from '../addon/contract.js';
import { checkObjects, shortened, shown, shownJson } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import type { Module } from '../nn/module.js';
import { buildModel, type ModuleSpec, specOf } from '../nn/spec.js';
import type { StateValues } from '../state.js';
import type { Device } from '../tensor.js';
import { checkDescription, type InputNormalization, type ModelDescription } from './model-description.js';
import { readWholeFile } from './read-file.js';
import {
  parseSafetensors,
  readSafetensors,
  type SafetensorsFile,
  type SafetensorsTensor,
  writeSafetensors,
} from './safetensors.js';

const VERSION = 1;
const KEY = 'kalman_norm';
const MEAN = `${KEY}.mean`;

/** Options of {@link saveModel}. */
export interface SaveModelOptions extends ModelDescription {
  /** Small values that are kept in the file's header. Default: none */
  readonly metadata?: Readonly<Record<string, string | number>> | undefined;
  /** How parameters are stored; buffers, such as running averages, keep float32. Default: F32 */
  readonly dtype?: 'F32' | 'F16' | 'BF16' | undefined;
}

/** What a model file says of its network. */
export interface ModelInfo extends ModelDescription {
  /** Null where the module that was saved couldn't say, or another program wrote the file. */
  readonly architecture: ModuleSpec | null;
  /** Texts that were kept with the model. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Writes a module's parameters and buffers, its architecture (see {@link Module.spec}) and what the network is for as a
 * safetensors file, aside and renamed.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for options that don't fit each other, and as {@link serializeSafetensors};
 *   an old file is unchanged then
 *
 * @example
 * await saveModel('model.safetensors', model, { ...(await trainer.describe()), metadata: { epoch } });
 */
export async function saveModel(path: string, module: Module, options: SaveModelOptions = {}): Promise<void> {
  checkObjects('saveModel', { module, options });
  check(
    typeof module.namedParameters === 'function',
    'INVALID_ARGUMENT',
    () => `saveModel: expected a module, got ${shown(module)}`,
  );
  const { classNames, input, normalization, metadata = {}, dtype = 'F32', ...others } = options;
  const refuse = (message: string): never => {
    throw new KalmanNormError('INVALID_ARGUMENT', `saveModel: ${message}`);
  };
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) refuse(`there is no option "${unknown}"; texts of your own belong into metadata`);
  if (!['F32', 'F16', 'BF16'].includes(dtype)) refuse(`dtype must be F32, F16 or BF16, got ${dtype}`);
  if (Object.hasOwn(metadata, KEY)) refuse(`metadata: the key "${KEY}" is taken`);
  const description = { classNames, input, normalization };
  checkDescription(description, refuse);

  const [parameters, values] = [module.namedParameters(), await module.stateValues()];
  const tensors: Record<string, SafetensorsTensor> = {};
  for (const [name, { shape, data }] of values) {
    if (name === MEAN) refuse(`the module has a tensor named ${MEAN}`);
    const stored = data instanceof Float32Array ? (parameters.has(name) ? dtype : 'F32') : storedType(data);
    tensors[name] = { dtype: stored, shape, data } as SafetensorsTensor;
  }
  const image = meanImageOf(description);
  if (image) tensors[MEAN] = image;
  const about = {
    version: VERSION,
    architecture: specOf(module),
    ...description,
    ...(normalization && {
      normalization: {
        mean: image ? 'tensor' : [...normalization.mean],
        scale: typeof normalization.scale === 'number' ? normalization.scale : [...normalization.scale],
      },
    }),
  };
  const texts = Object.entries(metadata).map(([key, value]) => [key, String(value)]);
  await writeSafetensors(path, tensors, { ...Object.fromEntries(texts), [KEY]: JSON.stringify(about) });
}

function storedType(data: Int32Array | Uint8Array): 'I32' | 'U8' {
  return data instanceof Int32Array ? 'I32' : 'U8';
}

/** The mean as a tensor, if it is an image and not a value a channel. */
function meanImageOf({ input, normalization }: ModelDescription): SafetensorsTensor | null {
  if (!input || !normalization || normalization.mean.length === input.channels) return null;
  return {
    dtype: 'F32',
    shape: [input.channels, input.height, input.width],
    data: Float32Array.from(normalization.mean),
  };
}

/**
 * Loads a module's parameters and buffers from a safetensors file. 16-bit floats are widened.
 *
 * @returns what the file says of the network
 * @throws KalmanNormError `FILE_NOT_FOUND`, `FILE_CORRUPT`, `UNKNOWN_VERSION`, or `STATE_MISMATCH` naming the file and
 *   all entries that are missing, unexpected or of another shape; nothing is loaded then
 * @internal
 */
export async function loadWeights(path: string, module: Module): Promise<ModelInfo> {
  const file = interpret(await readSafetensors(path), path);
  inFile(path, () => module.loadStateDict(file.state));
  return file.info;
}

/**
 * Builds the network that a file describes, with its parameters and buffers, in inference mode.
 *
 * @throws KalmanNormError as {@link loadModel}; `STATE_MISMATCH` where the file has no architecture, `FILE_CORRUPT`
 *   where its architecture is none that {@link buildModel} accepts, or has more than twice the values of the file and
 *   65,536 besides
 *
 * @example
 * const { model, classNames } = await openModel('model.safetensors', device);
 */
export async function openModel(path: string, device: Device): Promise<ModelInfo & { model: Module }> {
  return parseModel(await readWholeFile(path, 'a safetensors file'), path, device);
}

/** As {@link openModel}, of a file's bytes; messages name `path`. @internal */
export function parseModel(bytes: Uint8Array, path: string, device: Device): ModelInfo & { model: Module } {
  const { info, state } = interpret(parseSafetensors(bytes, path), path);
  const { architecture } = info;
  check(
    architecture !== null,
    'STATE_MISMATCH',
    `${path}: the file doesn't say which network it is; make the network and use loadModel`,
  );
  const values = [...state.values()].reduce((sum, { data }) => sum + data.length, 0);
  // With room: what lacks little is told which entries it lacks.
  const maxValues = 2 * values + 2 ** 16;
  const model = inFile(path, () => buildModel(device, architecture, { maxValues }), 'FILE_CORRUPT');
  try {
    inFile(path, () => model.loadStateDict(state));
  } catch (error) {
    model.dispose();
    throw error;
  }
  return { ...info, model: model.eval() };
}

/** Names the file in errors. */
function inFile<T>(path: string, body: () => T, code?: KalmanNormError['code']): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError(code ?? error.code, `${path}: ${error.message}`, { cause: error });
  }
}

function interpret(file: SafetensorsFile, path: string): { info: ModelInfo; state: StateValues } {
  const info = readInfo(path, file);
  const state: StateValues = new Map();
  for (const [name, { shape, data, dtype }] of file.tensors) {
    if (name === MEAN) continue;
    if (!(data instanceof Float32Array || data instanceof Int32Array || dtype === 'U8')) {
      throw new KalmanNormError(
        'STATE_MISMATCH',
        `${path}: ${shortened(name)} must be F32, F16, BF16, I32 or U8, got ${dtype}`,
      );
    }
    state.set(name, { shape, data: data as TensorData });
  }
  return { info, state };
}

function readInfo(path: string, { metadata: all, tensors }: SafetensorsFile): ModelInfo {
  const { [KEY]: text, ...metadata } = all;
  if (text === undefined) return { architecture: null, metadata };
  const fail = (message: string, cause?: unknown): never => {
    throw new KalmanNormError('FILE_CORRUPT', `${path}: metadata ${KEY}: ${message}`, { cause });
  };
  let about: unknown;
  try {
    about = JSON.parse(text);
  } catch (error) {
    return fail(`expected JSON: ${(error as Error).message}`, error);
  }
  if (typeof about !== 'object' || about === null) return fail(`expected an object, got ${shownJson(about)}`);
  const { version, architecture, classNames, input, normalization } = about as Partial<ModelInfo> & {
    version?: unknown;
    normalization?: { mean: unknown };
  };
  check(
    version === VERSION,
    'UNKNOWN_VERSION',
    () => `${path}: expected version ${VERSION} of the model format, got ${shownJson(version)}`,
  );
  // A spec is checked where it is built.
  if (architecture === undefined || typeof architecture !== 'object') fail('architecture: expected a spec or null');
  const description: ModelDescription = {
    classNames,
    input,
    normalization:
      (normalization?.mean as unknown) === 'tensor'
        ? ({ ...normalization, mean: tensors.get(MEAN)?.data } as InputNormalization)
        : normalization,
  };
  checkDescription(description, fail);
  return { ...description, architecture: architecture as ModuleSpec | null, metadata };
}
