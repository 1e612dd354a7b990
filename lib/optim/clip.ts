import { native } from '../addon/load.js';
import { check } from '../errors.js';
import { Tensor } from '../tensor.js';
import { checkPositive } from './checks.js';
import type { LossScaler } from './loss-scaler.js';
import { distinctParameters, type ParameterList } from './parameter-list.js';

declare module '../addon/contract.js' {
  interface Operations {
    clipNorm(args: { gradients: readonly Handle[]; maxNorm: number; lossScale?: Maybe }): Handle;
    clipValue(args: { gradients: readonly Handle[]; limit: number; lossScale?: Maybe }): void;
  }
}

/**
 * Clips the gradients of all parameters together, by their global norm (Pascanu, Mikolov and Bengio, On the difficulty of
 * training recurrent neural networks, ICML 2013): with n = sqrt(sum of all g²),
 *
 *     g *= maxNorm / n  where n > maxNorm
 *
 * Gradients whose norm isn't finite stay as they are, for a {@link LossScaler} or the loss to show. Can be recorded;
 * belongs between `backward` and `step`.
 *
 * @param parameters those without a gradient are left out
 * @param maxNorm positive
 * @param scaler the loss scale that the gradients are multiplied by: maxNorm and the norm are those without it; default:
 *   none
 * @returns the norm before clipping, [1], on the device
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't parameters, or a norm that isn't positive; `INVALID_STATE`
 *   where no parameter has a gradient; nothing is clipped then
 *
 * @example
 * backward(loss);
 * const norm = clipGradNorm(model.namedParameters(), 1);
 * optimizer.step();
 */
export function clipGradNorm(parameters: ParameterList, maxNorm: number, scaler: LossScaler | null = null): Tensor {
  const { device, gradients } = gradientsOf('clipGradNorm', parameters);
  checkPositive('clipGradNorm: maxNorm', maxNorm);
  return new Tensor(device, native.clipNorm({ gradients, maxNorm, lossScale: scaler?.handle ?? null }));
}

/**
 * Clips every value of the parameters' gradients to [-limit, limit]. NaN stays. Can be recorded; belongs between `backward`
 * and `step`.
 *
 * @param parameters those without a gradient are left out
 * @param limit positive
 * @param scaler the loss scale that the gradients are multiplied by: the limit is one without it; default: none
 * @throws KalmanNormError as {@link clipGradNorm}
 */
export function clipGradValue(parameters: ParameterList, limit: number, scaler: LossScaler | null = null): void {
  const { gradients } = gradientsOf('clipGradValue', parameters);
  checkPositive('clipGradValue: limit', limit);
  native.clipValue({ gradients, limit, lossScale: scaler?.handle ?? null });
}

function gradientsOf(owner: string, parameters: ParameterList) {
  const gradients = distinctParameters(owner, parameters).flatMap(({ weight }) => weight.grad ?? []);
  const [first] = gradients;
  check(first !== undefined, 'INVALID_STATE', `${owner}: no parameter has a gradient; call backward first`);
  return { device: first.device, gradients: gradients.map(({ handle }) => handle) };
}
