/**
 * The two 16-bit floating-point formats of model files, as bits in 16-bit integers: `F16` (IEEE 754 binary16: 5 bits of
 * exponent, 10 of mantissa) and `BF16` (the upper half of a float32).
 */

/** float32 and its bits: two views of one buffer. */
const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** Every float16 as a float32, exactly. Built at the first use: 256 KiB. */
let halves: Float32Array | null = null;

function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >>> 10) & 0x1f;
    const mantissa = bits & 0x3ff;
    if (exponent === 0) return sign * mantissa * 2 ** -24;
    if (exponent === 0x1f) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  });
  return halves;
}

/** float16 bits as float32, exactly. */
export function widenF16(bits: Uint16Array): Float32Array {
  const table = halfTable();
  return Float32Array.from(bits, (half) => table[half] as number);
}

/** bfloat16 bits as float32, exactly. */
export function widenBF16(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  return new Float32Array(words.buffer);
}

/** To the nearest float16, ties to even; what is beyond 65519 becomes infinite, as IEEE 754 says. */
export function narrowF16(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (value) => {
    float[0] = value;
    const bits = word[0] as number;
    const sign = (bits >>> 16) & 0x8000;
    const magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    // From 65520, half a step above the largest float16.
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    // Below 2^-14 steps are 2^-24: adding 1/2, whose last bit is 2^-24, lets the float32 adder round.
    if (magnitude < 0x38800000) {
      float[0] = Math.abs(value) + 0.5;
      return sign | ((word[0] as number) - 0x3f000000);
    }
    return sign | (roundTo(magnitude, 13) - (112 << 10));
  });
}

/** To the nearest bfloat16, ties to even. */
export function narrowBF16(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (value) => {
    float[0] = value;
    const bits = word[0] as number;
    // A quiet NaN: rounding could make an infinity of one.
    if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
    return ((bits >>> 31) << 15) | roundTo(bits & 0x7fffffff, 16);
  });
}

/** Drops the lowest bits, rounding to the nearest, ties to even. */
function roundTo(magnitude: number, dropped: number): number {
  const odd = (magnitude >>> dropped) & 1;
  return (magnitude + (2 ** (dropped - 1) - 1) + odd) >>> dropped;
}
