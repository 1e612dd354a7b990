import { advance, append } from '../ops/counter.js';
import type { Loss } from '../ops/loss.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';

/** What has come of a batch, as the host sees it. @internal */
export interface BatchFigures {
  /** Mean over its samples. */
  loss: number;
  /** Number of wrongly classified samples. */
  errors: number;
}

/** Loss and errors of each batch of a pass, on the device. @internal */
export class History {
  private readonly loss: Tensor;
  private readonly errors: Tensor;
  /** Number of the next batch; operations on the device read it. */
  readonly cursor: Tensor;

  /** @param slots batches that a pass may have */
  constructor(device: Device, slots: number) {
    [this.loss, this.errors, this.cursor] = noScope(() => [
      device.zeros([slots]),
      device.zeros([slots]),
      device.zeros([1], { dtype: 'int32' }),
    ]) as [Tensor, Tensor, Tensor];
  }

  /** Begins a pass. */
  clear(): void {
    this.cursor.fill(0);
  }

  /** Writes down a batch's figures. */
  note({ loss, errors }: Loss): void {
    append(loss, this.cursor, this.loss);
    append(errors, this.cursor, this.errors);
    advance(this.cursor);
  }

  /** The figures of the first batches of the pass, when they are done. */
  async look(batches: number): Promise<BatchFigures[]> {
    const [losses, errors] = await Promise.all([this.loss.data(), this.errors.data()]);
    return Array.from({ length: batches }, (_, i) => ({ loss: losses[i] as number, errors: errors[i] as number }));
  }

  dispose(): void {
    for (const tensor of [this.loss, this.errors, this.cursor]) tensor.dispose();
  }
}
