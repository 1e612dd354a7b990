import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';

declare module '../addon/contract.js' {
  interface Operations {
    advance(args: { counter: Handle; by: number }): void;
    append(args: { value: Handle; cursor: Handle; history: Handle }): void;
  }
}

/** counter += by, on the device, so that a recorded step counts its replays. */
export function advance(counter: Tensor, by = 1): void {
  native.advance({ counter: counter.handle, by });
}

/** history[cursor] = value; nothing where the cursor is outside. All float32 but the cursor (int32, one value). */
export function append(value: Tensor, cursor: Tensor, history: Tensor): void {
  native.append({ value: value.handle, cursor: cursor.handle, history: history.handle });
}
