import { backward, type Device, type Format, type Optimizer, scale, scope, type Tensor } from '../../lib/index.js';
import type { NdArray } from './array.js';
import type { TestRandom } from './random.js';

/** A parameter under test, with its value as the float64 reference has it. */
export interface Slot {
  name: string;
  format: Format | undefined;
  /** Whether weight decay covers it by default. */
  decays: boolean;
  tensor: Tensor;
  /** What its gradient is set to. */
  slope: Tensor;
  w: Float64Array;
}

/** Parameters of all forms, one of them large enough to be cut among threads. */
const forms: { name: string; shape: readonly number[]; format?: Format; decays: boolean }[] = [
  { name: 'filter', shape: [16, 5, 3, 3], format: 'filter', decays: true },
  { name: 'blocked filter', shape: [24, 16, 3, 3], format: 'filter', decays: true },
  { name: 'matrix', shape: [300, 170], decays: true },
  { name: 'bias', shape: [10], decays: false },
  { name: 'few values', shape: [3], decays: false },
];

/** Parameters with random values. */
export function drawSlots(device: Device, random: TestRandom): Slot[] {
  return forms.map(({ name, shape, format, decays }) => {
    const start = random.normals(shape);
    const upload = () => device.tensor(Float32Array.from(start.data), shape, format ? { format } : {});
    const [tensor, slope] = [upload(), upload()];
    tensor.requiresGrad = true;
    return { name, format, decays, tensor, slope, w: start.data };
  });
}

/** Parameters of the same values on their own. */
export function copySlots(device: Device, slots: readonly Slot[]): Slot[] {
  return slots.map((slot) => {
    const { shape, format } = slot.tensor;
    const upload = () => device.tensor(Float32Array.from(slot.w), shape, { format });
    const [tensor, slope] = [upload(), upload()];
    tensor.requiresGrad = true;
    return { ...slot, tensor, slope, w: Float64Array.from(slot.w) };
  });
}

/** Gives weights or slopes to other slots. */
export function copyValues(from: readonly Slot[], to: readonly Slot[], what: 'tensor' | 'slope'): void {
  for (const [i, slot] of to.entries()) slot[what].copyFrom(from[i]![what]);
}

export function parametersOf(slots: readonly Slot[]): Map<string, Tensor> {
  return new Map(slots.map(({ name, tensor }) => [name, tensor]));
}

/** Random gradients of the next step. */
export function drawGradients(slots: readonly Slot[], random: TestRandom): NdArray[] {
  return slots.map(({ tensor, slope }) => {
    const gradient = random.normals(tensor.shape);
    slope.write(Float32Array.from(gradient.data));
    return gradient;
  });
}

/** Sets all gradients to the slopes, by a backward pass; can be recorded. */
export function setGradients(slots: readonly Slot[]): void {
  scope(() => {
    for (const { tensor, slope } of slots) {
      tensor.zeroGrad();
      backward(scale(tensor, 1), slope);
    }
  });
}

/** A step with the slopes as gradients. */
export function stepWithSlopes(slots: readonly Slot[], optimizer: Optimizer): void {
  setGradients(slots);
  optimizer.step();
}
