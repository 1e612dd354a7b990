import { crossEntropy, linear } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** Labels that aren't classes. */
  once(inputs) {
    const logits = linear(inputs.tensor([70, 12]), inputs.tensor([12, 37]), inputs.tensor([37]));
    const labels = Int32Array.from({ length: 70 }, (_, i) => ((i * 7) % 40) - 1);
    const targets = inputs.device.tensor(labels);
    const weights = inputs.positive(37);
    inputs.differentiate(
      crossEntropy(logits, targets).loss,
      crossEntropy(logits, targets, { smoothing: 0.1, weights }).loss,
      crossEntropy(logits, targets, { ignoreIndex: -1 }).loss,
    );
  },
} satisfies Family;
