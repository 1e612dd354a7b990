import type { Module } from '../../lib/index.js';
import type { TestRandom } from './random.js';

/** Parameters and buffers as training might leave them: no scale is 1, no shift 0. */
export function shake(module: Module, random: TestRandom): void {
  for (const [name, tensor] of module.stateDict()) {
    if (tensor.dtype !== 'float32' || name.endsWith('filterState')) continue;
    const variance = name.endsWith('runningVariance');
    const values = variance ? random.uniforms(tensor.shape, 0.3, 3) : random.normals(tensor.shape, 0.3, 0.5);
    // Filters and matrices keep their size, so that values stay of the order of 1.
    if (name.endsWith('weight')) continue;
    tensor.write(Float32Array.from(values.data));
  }
}
