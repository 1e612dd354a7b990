import { backward, noGrad } from '../autograd.js';
import { DeviceRandom } from '../device-random.js';
import { addInto, scale } from '../ops/elementwise.js';
import type { Loss } from '../ops/loss.js';
import { samples } from '../ops/memory.js';
import { clipGradAdaptive, clipGradNorm } from '../optim/clip.js';
import { LossScaler } from '../optim/loss-scaler.js';
import type { Program } from '../program.js';
import { scope } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { classLoss } from './class-loss.js';
import type { DataParallel } from './data-parallel.js';
import type { DeviceImages } from './device-images.js';
import type { History } from './history.js';
import type { TrainerOptions } from './trainer-options.js';

/**
 * The step of a training, from the batch to the moved weights: recorded once and replayed, exchanges with other processes
 * included.
 *
 * @internal
 */
export class TrainingStep {
  private readonly random: DeviceRandom;
  /** Gradients of float16 activations would underflow. */
  private readonly scaler: LossScaler | null;
  /** The recorded step, and the modes of the modules that it was recorded with. */
  private recorded: { program: Program; modes: string } | null = null;

  /**
   * @param images whose order and cursor say which batch comes next
   * @param parallel where processes train together
   */
  constructor(
    private readonly options: TrainerOptions,
    private readonly images: DeviceImages,
    private readonly history: History,
    private readonly parallel: DataParallel | null,
  ) {
    const { device, seed = 0 } = options;
    this.random = new DeviceRandom(device, seed);
    this.scaler = device.precision === 'fp16' ? new LossScaler(device) : null;
  }

  /**
   * Makes steps: alone it enqueues them and returns, with other processes it waits for each.
   *
   * @param before steps of all epochs up to now
   * @param signal with other processes: makes all of them stop after the step that they are in
   * @returns how many were made, and whether processes are to stop
   */
  async run(count: number, before: number, signal?: AbortSignal): Promise<{ made: number; stop: boolean }> {
    if (this.parallel) return this.stepTogether(this.parallel, count, before, signal);
    this.enqueue(count, before);
    return { made: count, stop: false };
  }

  /** What training goes on from beside model and optimizer, by name: the random stream's step, and the loss scale. */
  stateDict(): Map<string, Tensor> {
    const named = (part: string, state: Map<string, Tensor>) =>
      [...state].map(([name, tensor]) => [`${part}.${name}`, tensor] as const);
    const scaler = this.scaler ? named('scaler', this.scaler.stateDict()) : [];
    return new Map([...named('random', this.random.stateDict()), ...scaler]);
  }

  /** Frees what is its own. */
  dispose(): void {
    this.recorded?.program.dispose();
    this.random.dispose();
    this.scaler?.dispose();
  }

  private enqueue(count: number, before: number): void {
    const { schedule, optimizer } = this.options;
    if (!schedule) {
      this.repeat(count);
      return;
    }
    for (let step = before + 1; step <= before + count; step++) {
      optimizer.learningRate = schedule(step);
      this.repeat(1);
    }
  }

  /**
   * Steps of all processes, at the end of each of which it waits for the others.
   *
   * @returns how many were made, fewer where a process wants to end or the loss isn't finite: the same in all
   */
  private async stepTogether(
    parallel: DataParallel,
    count: number,
    before: number,
    signal: AbortSignal | undefined,
  ): Promise<{ made: number; stop: boolean }> {
    for (let made = 1; ; made++) {
      parallel.announce(signal?.aborted ?? false);
      this.enqueue(1, before + made - 1);
      const { loss, stop } = await parallel.outcome();
      if (made === count || stop || !Number.isFinite(loss)) return { made, stop };
    }
  }

  private repeat(count: number): void {
    const { eager } = this.options;
    const direct = eager ? count : this.program() ? 0 : 1;
    for (let i = 0; i < direct; i++) this.step();
    if (!eager && direct > 0) this.record();
    if (count > direct) this.program()?.run(count - direct);
  }

  /** The recorded step; null where there is none for the modes that the modules are in. */
  private program(): Program | null {
    return this.recorded?.modes === this.modes() ? this.recorded.program : null;
  }

  /**
   * Records a step, which has been made before: what a GPU does at an operation's first use, such as timing a convolution's
   * algorithms, it may not do while it records.
   */
  private record(): void {
    this.recorded?.program.dispose();
    this.recorded = null;
    const { program } = this.options.device.record(() => this.step());
    this.recorded = { program, modes: this.modes() };
  }

  private modes(): string {
    const modules = this.options.model.modules();
    return modules.map(({ training }) => (training ? 't' : 'e')).join('');
  }

  private step(): void {
    scope(() => {
      const own = this.gradients();
      this.update(this.parallel?.end(own) ?? own);
    });
    this.random.advance();
  }

  /** Gradients of this process's part of the next batch, and its figures. */
  private gradients(): Loss {
    const { model, accumulate = 1, augment = true, smoothing = 0 } = this.options;
    const changes = augment === false ? null : { ...(augment === true ? {} : augment), random: this.random };
    const { images, labels } = this.images.batch(this.history.cursor, changes);
    model.zeroGrad();
    if (accumulate > 1) return this.inParts(images, labels, accumulate);
    const result = classLoss(model.forward(images, this.random), labels, this.images.classes, { smoothing });
    this.backward(result.loss, this.scaler?.factor, true);
    return result;
  }

  /** @param last whether nothing is added to the gradients afterwards, so that they can go to other processes */
  private backward(loss: Tensor, seed: Tensor | undefined, last: boolean): void {
    backward(loss, seed, last && this.parallel ? { portions: this.parallel.portions } : {});
  }

  /** Moves the weights by the gradients, and notes the batch's figures. */
  private update(figures: Loss): void {
    const { optimizer, average, clipNorm, adaptiveClip } = this.options;
    this.history.note(figures);
    if (adaptiveClip) {
      const { clipping, parameters = optimizer.parameters() } = adaptiveClip;
      clipGradAdaptive(parameters, clipping, this.scaler);
    }
    if (clipNorm !== undefined) clipGradNorm(optimizer.parameters(), clipNorm, this.scaler);
    optimizer.step(this.scaler);
    average?.update();
  }

  /** Forward and backward, part by part; the mean of the losses, and all errors. */
  private inParts(images: Tensor, labels: Tensor, count: number): Loss {
    const { model, device, smoothing = 0 } = this.options;
    const size = labels.size / count;
    const share = 1 / count;
    const seed = this.scaler ? scale(this.scaler.factor, share) : device.full([1], share);
    const total: Loss = { loss: device.zeros([1]), errors: device.zeros([1]) };
    for (let part = 0; part < count; part++) {
      scope(() => {
        const [own, classes] = [images, labels].map((all) => samples(all, part * size, size)) as [Tensor, Tensor];
        const { loss, errors } = classLoss(model.forward(own, this.random), classes, this.images.classes, {
          smoothing,
        });
        this.backward(loss, seed, part === count - 1);
        noGrad(() => addInto(total.loss, scale(loss, share)));
        addInto(total.errors, errors);
      });
    }
    return total;
  }
}
