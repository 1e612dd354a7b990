import { native } from '../addon/load.js';
import { noGrad } from '../autograd.js';
import { check } from '../errors.js';
import { div, maximum, minimum, mul } from '../ops/broadcast.js';
import { scale, sqrt, square } from '../ops/elementwise.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../scope.js';
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

/** Norms of weights and of gradients count as at least this. */
const LEAST_WEIGHT = 1e-3;
const LEAST_GRADIENT = 1e-6;

/**
 * Adaptive gradient clipping (Brock et al. 2021, High-performance large-scale image recognition without normalization): the
 * gradient g of the weights w of each output, by their norms,
 *
 *     g *= clipping·max(‖w‖, 0.001) / ‖g‖  where that is below 1
 *
 * An output of a filter [out, in, height, width] is a row, of a matrix [in, out] a column; a vector is one of its own, as in
 * the authors' code. The paper clips all layers but the last. Can be recorded; belongs between `backward` and `step`.
 *
 * @param parameters those without a gradient are left out
 * @param clipping λ, positive; default 0.01
 * @param scaler the loss scale that the gradients are multiplied by: their norm is the one without it; default: none
 * @throws KalmanNormError as {@link clipGradNorm}
 *
 * @example
 * backward(loss);
 * clipGradAdaptive(model.features.namedParameters(), 0.01);
 * optimizer.step();
 */
export function clipGradAdaptive(parameters: ParameterList, clipping = 0.01, scaler: LossScaler | null = null): void {
  const clipped = clippedOf('clipGradAdaptive', parameters);
  checkPositive('clipGradAdaptive: clipping', clipping);
  for (const { weight, gradient } of clipped) {
    noGrad(() =>
      scope(() => {
        const limit = scale(maximum(unitNorms(weight), LEAST_WEIGHT), clipping);
        const allowed = scaler ? mul(limit, scaler.factor) : limit;
        const factor = minimum(div(allowed, maximum(unitNorms(gradient), LEAST_GRADIENT)), 1);
        gradient.copyFrom(mul(gradient, factor));
      }),
    );
  }
}

/** Norms of the outputs' weights, in a shape that broadcasts to the weights. */
function unitNorms(weights: Tensor): Tensor {
  const rank = weights.shape.length;
  const axes = rank === 2 ? [0] : weights.shape.map((_, axis) => axis).slice(rank === 1 ? 0 : 1);
  return sqrt(sum(square(weights), { axes, keepDims: true }));
}

function gradientsOf(owner: string, parameters: ParameterList) {
  const clipped = clippedOf(owner, parameters);
  return { device: clipped[0].weight.device, gradients: clipped.map(({ gradient }) => gradient.handle) };
}

type Clipped = { weight: Tensor; gradient: Tensor };

/** Parameters that have a gradient, at least one. */
function clippedOf(owner: string, parameters: ParameterList): [Clipped, ...Clipped[]] {
  const [first, ...others] = distinctParameters(owner, parameters).flatMap(({ weight }) =>
    weight.grad ? [{ weight, gradient: weight.grad }] : [],
  );
  check(first !== undefined, 'INVALID_STATE', `${owner}: no parameter has a gradient; call backward first`);
  return [first, ...others];
}
