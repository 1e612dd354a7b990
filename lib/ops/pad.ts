import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { Belief, checkBeliefs } from './belief.js';
import { unary } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    padChannels(args: { x: Handle; before: number; after: number }): Handle;
    padChannelsBackward(args: { dy: Handle; x: Handle; before: number }): Handle;
    padBelief(args: { x: Handle; splits: number; before: number; after: number; aligned: boolean }): Handle;
    padBeliefBackward(args: {
      dy: Handle;
      x: Handle;
      splits: number;
      before: number;
      after: number;
      aligned: boolean;
    }): Handle;
  }
}

/** [N, C, H, W] with `before` and `after` channels of zeros around its own. */
export function padChannels(x: Tensor, before: number, after: number): Tensor {
  return unary('padChannels', x, {
    forward: (x) => native.padChannels({ x, before, after }),
    save: (x) => ({ x }),
    backward: ({ saved, dy }) => native.padChannelsBackward({ ...saved, dy, before }),
  });
}

/**
 * Where a widening shortcut puts a belief: `aligned` moves (split s, channel c) to (s, before + c), as the samples move;
 * `reference` shifts the flat vector by S·before, as the authors' code does, which mixes up splits and channels for S > 1.
 */
export type BeliefPadding = 'aligned' | 'reference';

/** A belief of `before` + C + `after` channels, with zeros for the new ones. */
export function padBelief(belief: Belief, before: number, after: number, padding: BeliefPadding = 'aligned'): Belief {
  checkBeliefs('padBelief', { belief });
  const { splits } = belief;
  const aligned = padding === 'aligned';
  const pad = (x: Tensor) =>
    unary('padBelief', x, {
      forward: (x) => native.padBelief({ x, splits, before, after, aligned }),
      save: (x) => ({ x }),
      backward: ({ saved, dy }) => native.padBeliefBackward({ ...saved, dy, splits, before, after, aligned }),
    });
  return new Belief(pad(belief.mean), pad(belief.variance), splits);
}
