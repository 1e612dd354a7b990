import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { mul, sub } from './broadcast.js';
import { differentiable } from './differentiable.js';
import { clamp, scale, softplus, square } from './elementwise.js';
import { mean } from './reduce.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** `weights`: [classes]. */
    crossEntropy(args: {
      logits: Handle;
      labels: Handle;
      smoothing: number;
      weights?: Maybe;
      ignoreIndex?: number | null;
    }): {
      loss: Handle;
      errors: Handle;
      dlogits: Handle;
    };
  }
}

/** Loss of a batch. */
export interface Loss {
  /** Mean cross-entropy, one value. */
  loss: Tensor;
  /** Number of wrongly classified samples, one value; no gradient. */
  errors: Tensor;
}

/** Options of {@link crossEntropy}. */
export interface CrossEntropyOptions {
  /**
   * ε of label smoothing (Szegedy et al. 2016), from 0 to 1: a sample's target is 1 - ε at its label, and ε / classes at
   * each class besides. Default 0.
   */
  smoothing?: number;
  /**
   * [classes], what the terms of a class are multiplied by, as where classes are of different size; the mean is taken by
   * the weights of the samples' labels. No gradient flows to them. Default: all alike.
   */
  weights?: Tensor;
  /**
   * Samples of this label have no part in loss, gradient, errors and mean, as padding and what nobody labelled; any
   * 32-bit integer, also one that is no class. Where all samples have it, the loss is 0. Default: none.
   */
  ignoreIndex?: number;
}

const optionNames: OptionNames<CrossEntropyOptions> = { smoothing: true, weights: true, ignoreIndex: true };

/**
 * Mean softmax cross-entropy.
 *
 * @param logits [N, classes]
 * @param labels [N], int32; a label outside [0, classes) that isn't `ignoreIndex` makes the loss NaN
 * @throws KalmanNormError `INVALID_ARGUMENT` for a smoothing outside [0, 1] or an `ignoreIndex` that is no 32-bit integer, `SHAPE_MISMATCH` for other shapes
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Loss {
  checkTensors('crossEntropy', { logits, labels });
  checkOptions('crossEntropy', options, optionNames);
  const { smoothing = 0, weights = null, ignoreIndex = null } = options;
  return differentiable({
    name: 'crossEntropy',
    inputs: { logits },
    forward: (inputs) =>
      native.crossEntropy({
        ...inputs,
        labels: labels.handle,
        smoothing,
        weights: weights?.handle ?? null,
        ignoreIndex,
      }),
    outputs: ['loss'],
    internal: ['dlogits'],
    save: (_, { dlogits }) => ({ dlogits }),
    backward: ({ saved, grads }) => ({ logits: native.scaleBy({ x: saved.dlogits, factor: grads.loss }) }),
  });
}

/** Checks that predictions and targets are of one shape, so that none is broadcast unseen. */
function checkAlike(name: string, predictions: Tensor, targets: Tensor): void {
  checkTensors(name, { predictions, targets });
  const fits =
    predictions.shape.length === targets.shape.length && predictions.shape.every((n, i) => n === targets.shape[i]);
  check(
    fits,
    'SHAPE_MISMATCH',
    () =>
      `${name}: predictions and targets must have one shape, got [${predictions.shape.join(', ')}] and ` +
      `[${targets.shape.join(', ')}]`,
  );
}

/** The mean of terms, which are freed, as is what they were made of. */
function meanOf(terms: Tensor, ...used: readonly Tensor[]): Tensor {
  const result = mean(terms);
  for (const tensor of [terms, ...used]) tensor.dispose();
  return result;
}

/**
 * Mean of (prediction - target)².
 *
 * @param predictions of any shape, as `targets`
 * @returns one value
 * @throws KalmanNormError `SHAPE_MISMATCH` for different shapes
 */
export function mseLoss(predictions: Tensor, targets: Tensor): Tensor {
  checkAlike('mseLoss', predictions, targets);
  const errors = sub(predictions, targets);
  return meanOf(square(errors), errors);
}

/**
 * Mean of the Huber loss (1964): error²/2 up to `delta`, and delta·(|error| - delta/2) beyond.
 *
 * @param predictions of any shape, as `targets`
 * @param delta a positive number; default 1
 * @returns one value
 * @throws KalmanNormError `SHAPE_MISMATCH` for different shapes, `INVALID_ARGUMENT` for another delta
 */
export function huberLoss(predictions: Tensor, targets: Tensor, delta = 1): Tensor {
  checkAlike('huberLoss', predictions, targets);
  check(
    Number.isFinite(delta) && delta > 0,
    'INVALID_ARGUMENT',
    () => `huberLoss: delta must be a positive number, got ${String(delta)}`,
  );
  const errors = sub(predictions, targets);
  // With c the error cut to [-delta, delta], c·(error - c/2) is either branch.
  const cut = clamp(errors, -delta, delta);
  const half = scale(cut, 0.5);
  const rest = sub(errors, half);
  return meanOf(mul(cut, rest), errors, cut, half, rest);
}

/**
 * Mean binary cross-entropy of sigmoid(logits), without overflow: log(1 + exp(logit)) - target·logit.
 *
 * @param logits of any shape, as `targets`
 * @param targets from 0 to 1
 * @returns one value
 * @throws KalmanNormError `SHAPE_MISMATCH` for different shapes
 */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  checkAlike('binaryCrossEntropy', logits, targets);
  const [whole, part] = [softplus(logits), mul(targets, logits)];
  return meanOf(sub(whole, part), whole, part);
}
