import { record } from '../autograd.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';

/**
 * Mean over windows of size × size pixels, side by side; rows and columns that don't fill a window are dropped.
 *
 * @param x [N, C, H, W]
 */
export function avgPool2d(x: Tensor, size: number): Tensor {
  const y = new Tensor(x.device, native.avgPool(x.handle, size));
  record([x], () => {
    const input = x.handle.share();
    return {
      name: 'avgPool2d',
      inputs: [x],
      outputs: [y],
      saved: [input],
      backward: ({ grads: [dy], room }) => [dy ? native.avgPoolBackward(dy, input, size, room[0] ?? 0) : null],
    };
  });
  return y;
}

/** Mean over all pixels: [N, C, H, W] to [N, C]. */
export function globalAvgPool(x: Tensor): Tensor {
  const y = new Tensor(x.device, native.globalAvgPool(x.handle));
  record([x], () => {
    const input = x.handle.share();
    return {
      name: 'globalAvgPool',
      inputs: [x],
      outputs: [y],
      saved: [input],
      backward: ({ grads: [dy], room }) => [dy ? native.globalAvgPoolBackward(dy, input, room[0] ?? 0) : null],
    };
  });
  return y;
}

/** [N, C, H, W] with `before` and `after` channels of zeros around its own. */
export function padChannels(x: Tensor, before: number, after: number): Tensor {
  const y = new Tensor(x.device, native.padChannels(x.handle, before, after));
  record([x], () => {
    const input = x.handle.share();
    return {
      name: 'padChannels',
      inputs: [x],
      outputs: [y],
      saved: [input],
      backward: ({ grads: [dy] }) => [dy ? native.padChannelsBackward(dy, input, before) : null],
    };
  });
  return y;
}
