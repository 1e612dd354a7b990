import {
  backward,
  CifarResNet,
  crossEntropy,
  type Device,
  DeviceRandom,
  LossScaler,
  type MemoryStats,
  type NormSpec,
  type Program,
  ResNet,
  Sgd,
  scope,
  type Tensor,
} from '../../lib/index.js';
import { normalValues, volume } from './values.js';

/** The CIFAR network of n blocks a stage, 6n + 2 layers and 10 classes, or torchvision's ResNet-50 of 1000. */
export type Network = { n: number } | { depth: 50 };

/** Options of {@link TrainingStep}. */
export type TrainingStepOptions = Network & {
  norm: NormSpec;
  /** Images of a step. */
  batch: number;
  /** Rows and columns of an image. */
  size: number;
  /** Enqueue every operation from JavaScript, instead of replaying a recorded step. */
  eager: boolean;
};

/**
 * So small that the network doesn't learn its one batch by heart: gradients would sink to denormal numbers, and the step
 * would become another one while it is measured.
 */
const learningRate = 1e-4;

/**
 * A training step as the trainer makes it (forward, backward, update of all parameters), but on one batch that stays: so
 * that data loading and augmentation, which differ between libraries, are no part of the figure.
 */
export class TrainingStep {
  private readonly model: CifarResNet | ResNet;
  private readonly optimizer: Sgd;
  private readonly random: DeviceRandom;
  private readonly scaler: LossScaler | null;
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly program: Program | null;

  constructor(
    readonly device: Device,
    options: TrainingStepOptions,
  ) {
    const { norm, batch, size, eager } = options;
    this.model =
      'n' in options
        ? new CifarResNet(device, { n: options.n, norm })
        : new ResNet(device, { depth: options.depth, norm });
    this.optimizer = new Sgd(device, this.model.namedParameters(), learningRate, {
      momentum: 0.9,
      weightDecay: 2e-4,
    });
    this.random = new DeviceRandom(device, 1);
    this.scaler = device.precision === 'fp16' ? new LossScaler(device) : null;
    const shape = [batch, 3, size, size];
    this.images = device.tensor(normalValues(volume(shape)), shape);
    this.labels = device.tensor(Int32Array.from({ length: batch }, (_, i) => i % 10));
    // As in the trainer: first uses are no part of a recording.
    if (!eager) this.step();
    this.program = eager ? null : device.record(() => this.step()).program;
  }

  get parameterCount(): number {
    return this.model.parameterCount();
  }

  /** Enqueues steps. */
  enqueue(count: number): void {
    if (this.program) this.program.run(count);
    else for (let i = 0; i < count; i++) this.step();
  }

  /** Runs steps. @returns the seconds that they took */
  async run(count: number): Promise<number> {
    const begin = performance.now();
    this.enqueue(count);
    await this.device.synchronize();
    return (performance.now() - begin) / 1000;
  }

  /** Launches of the recorded step; null for an eager one. */
  get launches(): number | null {
    return this.program?.launches ?? null;
  }

  /** Memory of the recorded step; null for an eager one. */
  get programMemory(): MemoryStats | null {
    return this.program?.memoryStats() ?? null;
  }

  dispose(): void {
    this.program?.dispose();
    this.random.dispose();
    this.scaler?.dispose();
    this.optimizer.dispose();
    this.model.dispose();
    this.images.dispose();
    this.labels.dispose();
  }

  private step(): void {
    scope(() => {
      this.model.zeroGrad();
      const { loss } = crossEntropy(this.model.forward(this.images, this.random), this.labels);
      backward(loss, this.scaler?.factor);
      this.optimizer.step(this.scaler);
    });
    this.random.advance();
  }
}
