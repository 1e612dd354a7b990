import { shown } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { loadWeights, type ModelInfo, openModel } from '../io/model-file.js';
import type { Module } from '../nn/module.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device } from '../tensor.js';
import { foldNormalizations } from './fold.js';
import { InferenceModel, type InferenceOptions, inferenceNames } from './inference-model.js';
import { isNetwork } from './programs.js';

/** Options of {@link loadModel}. */
export interface LoadModelOptions extends InferenceOptions {
  /** Where the network runs. */
  readonly device: Device;
  /**
   * Convolutions take up the normalizations behind them, see {@link foldNormalizations}: faster, and the same up to
   * float32 rounding. Default: false
   */
  readonly fold?: boolean;
}

const optionNames: OptionNames<LoadModelOptions> = { device: true, fold: true, ...inferenceNames };

/**
 * Loads parameters and buffers from a safetensors file into a module. 16-bit floats are widened.
 *
 * @returns what the file says of the network
 * @throws KalmanNormError `FILE_NOT_FOUND`, `FILE_CORRUPT`, `UNKNOWN_VERSION`, or `STATE_MISMATCH` naming the file and
 *   all entries that are missing, unexpected or of another shape; nothing is loaded then
 */
export function loadModel(path: string, module: Module): Promise<ModelInfo>;
/**
 * Builds the network that a file describes, ready to be used: there is no code in the file, and all that it says is
 * checked before memory is allocated.
 *
 * @throws KalmanNormError as {@link openModel}; `STATE_MISMATCH` where the file doesn't say the size of its input, the
 *   network can't take it, or has another number of outputs than there are names of classes; `INVALID_ARGUMENT` for
 *   options outside their domain
 *
 * @example
 * const model = await loadModel('model.safetensors', { device: openDevice() });
 * const [best] = await model.classify(await readFile('cat.jpg'));
 * console.log(best?.name, best?.probability);
 * await model.dispose();
 */
export function loadModel(path: string, options: LoadModelOptions): Promise<InferenceModel>;
export async function loadModel(path: string, target: Module | LoadModelOptions): Promise<ModelInfo | InferenceModel> {
  const expected = () => `loadModel: expected a module, or options with a device, got ${String(target)}`;
  check(typeof target === 'object' && target !== null, 'INVALID_ARGUMENT', expected);
  if ('stateDict' in target) return loadWeights(path, target);
  checkOptions('loadModel', target, optionNames);
  check('device' in target, 'INVALID_ARGUMENT', expected);
  const { device, fold = false, ...options } = target;
  check(
    typeof fold === 'boolean',
    'INVALID_ARGUMENT',
    () => `loadModel: fold must be true or false, got ${shown(fold)}`,
  );
  const { model, ...info } = await openModel(path, device);
  let network = model;
  try {
    if (fold && isNetwork(model)) network = await foldNormalizations(model);
    return new InferenceModel(device, network, info, options);
  } catch (error) {
    network.dispose();
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError(error.code, `${path}: ${error.message}`, { cause: error });
  }
}
