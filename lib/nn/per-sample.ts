import { broadcastTo } from '../ops/layout.js';
import { reshape } from '../ops/memory.js';
import type { Tensor } from '../tensor.js';
import type { Temporaries } from './temporaries.js';

/**
 * The values of splits [S, C] for each of their samples, [N, C, 1, 1], which broadcasts to [N, C, H, W]. Takes the vector
 * over.
 *
 * @internal
 */
export function perSample(ofSplits: Tensor, samples: number, temporaries: Temporaries): Tensor {
  const [splits = 1, channels = 1] = temporaries.use(ofSplits).shape;
  const column = temporaries.use(reshape(ofSplits, [splits, 1, channels], 'plain'));
  const each = temporaries.use(broadcastTo(column, [splits, samples / splits, channels]));
  return temporaries.use(reshape(each, [samples, channels, 1, 1], 'plain'));
}
