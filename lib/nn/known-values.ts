import { noGrad } from '../autograd.js';
import type { Tensor } from '../tensor.js';
import { Conv2d } from './conv2d.js';
import type { Module } from './module.js';

/** A tensor's values on this side of the device. */
export interface KnownTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * The float32 parameters and buffers of a network by tensor. Others, such as the state of random streams, have no part in
 * inference. A shared tensor keeps its first name.
 */
export async function knownTensors(module: Module): Promise<Map<Tensor, KnownTensor>> {
  const values = await module.stateValues();
  const known = new Map<Tensor, KnownTensor>();
  for (const [name, tensor] of module.stateDict()) {
    const { shape, data } = values.get(name) as { shape: readonly number[]; data: unknown };
    if (data instanceof Float32Array && !known.has(tensor)) known.set(tensor, { name, shape, data });
  }
  return known;
}

/** Filters that are standardized on their way to the samples, as samples meet them. */
export async function standardizedFilters(module: Module): Promise<Map<Conv2d, Float32Array>> {
  const standardized = module
    .modules()
    .filter((layer): layer is Conv2d => layer instanceof Conv2d && layer.weightStandardization !== false);
  const reads: Promise<unknown>[] = [];
  // They are queued in front of the freeing; what is recorded here would only be in the way.
  noGrad(() => {
    for (const conv of standardized) conv.withFilter((filter) => reads.push(filter.data()));
  });
  const data = await Promise.all(reads);
  return new Map(standardized.map((conv, i) => [conv, data[i] as Float32Array]));
}
