import type { Crop } from '../../lib/io/crop.js';
import type { TestRandom } from './random.js';

/** Pixels with slopes, edges and some noise, [height, width, 3]. */
export function photograph(random: TestRandom, width: number, height: number): Uint8Array {
  const waves = Array.from({ length: 9 }, () => random.uniform(-0.12, 0.12));
  const [x0, y0, radius] = [random.uniform(0, width), random.uniform(0, height), random.uniform(3, 60)];
  return Uint8Array.from({ length: width * height * 3 }, (_, k) => {
    const [c, x, y] = [k % 3, Math.floor(k / 3) % width, Math.floor(k / 3 / width)];
    const slope = 60 * Math.sin(waves[c]! * x + waves[3 + c]! * y + c) + 60 * Math.sin(waves[6 + c]! * (x - y));
    const inside = Math.hypot(x - x0, y - y0) < radius ? 60 : 0;
    return Math.min(255, Math.max(0, 120 + slope + inside + random.uniform(-8, 8)));
  });
}

/**
 * Part of an image, [height, width, 3] bytes, resized to planes, [3, size, size], by a triangle that is as wide as a pixel of
 * the result, as Pillow and torchvision do it: in float64, not rounded.
 */
export function resizedCrop(pixels: Uint8Array, width: number, crop: Crop, size: number): Float64Array {
  const taps = (begin: number, length: number) => {
    const scale = length / size;
    const reach = Math.max(scale, 1);
    return Array.from({ length: size }, (_, i) => {
      const centre = (i + 0.5) * scale;
      const weights = Array.from({ length }, (_, at) => Math.max(0, 1 - Math.abs(at + 0.5 - centre) / reach));
      const sum = weights.reduce((a, b) => a + b);
      return weights.flatMap((weight, at) => (weight > 0 ? [{ at: begin + at, weight: weight / sum }] : []));
    });
  };
  const [columns, rows] = [taps(crop.left, crop.width), taps(crop.top, crop.height)];
  const result = new Float64Array(3 * size * size);
  for (let k = 0; k < result.length; k++) {
    const [x, y, c] = [k % size, Math.floor(k / size) % size, Math.floor(k / size / size)];
    for (const row of rows[y]!) {
      for (const column of columns[x]!) {
        result[k]! += row.weight * column.weight * pixels[(row.at * width + column.at) * 3 + c]!;
      }
    }
  }
  return result;
}
