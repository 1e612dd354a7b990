/** When a batch starts. */
export interface BatcherOptions {
  /** Most samples of a batch. */
  readonly maxBatch: number;
  /** Milliseconds that a sample may wait for others while nothing runs. */
  readonly maxDelay: number;
}

interface Waiting<Input, Output> {
  readonly input: Input;
  readonly resolve: (output: Output) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Gathers samples into batches, first come, first served. One batch runs at a time; those that come meanwhile are the
 * next one.
 */
export class Batcher<Input, Output> {
  private waiting: Waiting<Input, Output>[] = [];
  private running: Promise<void> | null = null;
  private stopTimer: (() => void) | null = null;

  /** @param run gives an output for each input, in their order; never throws, but may reject */
  constructor(
    private readonly run: (inputs: Input[]) => Promise<Output[]>,
    private readonly options: BatcherOptions,
  ) {}

  /**
   * The output for an input.
   *
   * @param signal takes it out of the queue; what runs already runs on, and its output is dropped
   */
  add(input: Input, signal?: AbortSignal): Promise<Output> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const done = () => signal?.removeEventListener('abort', abort);
      const entry: Waiting<Input, Output> = {
        input,
        resolve: (output) => {
          done();
          resolve(output);
        },
        reject: (reason) => {
          done();
          reject(reason);
        },
      };
      const abort = () => {
        this.waiting = this.waiting.filter((other) => other !== entry);
        entry.reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort);
      this.waiting.push(entry);
      this.schedule();
    });
  }

  /** Rejects all that wait, and resolves when nothing runs. */
  async drop(reason: unknown): Promise<void> {
    for (const { reject } of this.waiting.splice(0)) reject(reason);
    this.stopTimer?.();
    this.stopTimer = null;
    await this.running;
  }

  private schedule(): void {
    if (this.running || this.waiting.length === 0) return;
    const { maxBatch, maxDelay } = this.options;
    if (this.waiting.length >= maxBatch) {
      this.start();
    } else if (!this.stopTimer && maxDelay > 0) {
      const timer = setTimeout(() => this.start(), maxDelay);
      this.stopTimer = () => clearTimeout(timer);
    } else if (!this.stopTimer) {
      // Calls of one turn of the event loop share a batch even without a delay.
      const immediate = setImmediate(() => this.start());
      this.stopTimer = () => clearImmediate(immediate);
    }
  }

  private start(): void {
    this.stopTimer?.();
    this.stopTimer = null;
    const batch = this.waiting.splice(0, this.options.maxBatch);
    if (batch.length === 0) return; // all of them were aborted
    this.running = this.run(batch.map(({ input }) => input))
      .then(
        (outputs) => {
          for (const [i, { resolve }] of batch.entries()) resolve(outputs[i] as Output);
        },
        (error: unknown) => {
          for (const { reject } of batch) reject(error);
        },
      )
      .then(() => {
        this.running = null;
        // They have waited while the batch ran.
        if (this.waiting.length > 0) this.start();
      });
  }
}
