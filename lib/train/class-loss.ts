import { check } from '../errors.js';
import { type CrossEntropyOptions, crossEntropy, type Loss } from '../ops/loss.js';
import type { Tensor } from '../tensor.js';

/**
 * Cross-entropy of what a classifier gave.
 *
 * @param logits [N, classes or more]
 * @param classes of the data set: a label that has no logit would only show as a loss of NaN
 * @throws KalmanNormError `SHAPE_MISMATCH` where the model gives something else
 * @internal
 */
export function classLoss(logits: Tensor, labels: Tensor, classes: number, options: CrossEntropyOptions = {}): Loss {
  const [samples, answers = 0, ...rest] = logits.shape;
  check(
    samples === labels.size && answers >= classes && rest.length === 0,
    'SHAPE_MISMATCH',
    () =>
      `Trainer: the model must give [${labels.size}, ${classes}] for ${labels.size} images of ${classes} classes, ` +
      `got shape [${logits.shape.join(', ')}]`,
  );
  return crossEntropy(logits, labels, options);
}
