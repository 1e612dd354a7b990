import type { Affine, Device, Tensor } from '../../lib/index.js';
import { Belief } from '../../lib/index.js';
import { normalValues, volume } from './values.js';

/** Normally distributed activations whose gradient is wanted. */
export function activations(device: Device, shape: readonly number[]): Tensor {
  return device.tensor(normalValues(volume(shape)), shape, { requiresGrad: true });
}

/** Scale 1 and shift 0, trained. */
export function affine(device: Device, channels: number): Affine {
  return {
    gamma: device.ones([channels], { requiresGrad: true }),
    beta: device.zeros([channels], { requiresGrad: true }),
  };
}

/** A belief near the statistics of {@link activations}, so that the guard lets it through. */
export function standardBelief(device: Device, splits: number, channels: number): Belief {
  const length = [splits * channels];
  return new Belief(device.zeros(length, { requiresGrad: true }), device.ones(length, { requiresGrad: true }), splits);
}
