import { record } from '../autograd.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';

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
  const result = native.softmaxCrossEntropy(logits.handle, labels.handle);
  const loss = new Tensor(logits.device, result.loss);
  record([logits], () => {
    const dlogits = result.dlogits.share();
    return {
      name: 'crossEntropy',
      inputs: [logits],
      outputs: [loss],
      saved: [dlogits],
      backward: ({ grads: [dloss] }) => [dloss ? native.scaleBy(dlogits, dloss) : null],
    };
  });
  result.dlogits.dispose();
  return { loss, errors: new Tensor(logits.device, result.errors) };
}
