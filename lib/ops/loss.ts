import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    crossEntropy(args: { logits: Handle; labels: Handle }): { loss: Handle; errors: Handle; dlogits: Handle };
  }
}

/** Loss of a batch. */
export interface Loss {
  /** Mean cross-entropy, one value. */
  loss: Tensor;
  /** Number of wrongly classified samples, one value; no gradient. */
  errors: Tensor;
}

/**
 * Mean softmax cross-entropy.
 *
 * @param logits [N, classes]
 * @param labels [N], int32; a label outside [0, classes) makes the loss NaN
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Loss {
  return differentiable({
    name: 'crossEntropy',
    inputs: { logits },
    forward: (inputs) => native.crossEntropy({ ...inputs, labels: labels.handle }),
    outputs: ['loss'],
    internal: ['dlogits'],
    save: (_, { dlogits }) => ({ dlogits }),
    backward: ({ saved, grads }) => ({ logits: native.scaleBy({ x: saved.dlogits, factor: grads.loss }) }),
  });
}
