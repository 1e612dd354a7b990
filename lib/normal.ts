/** The standard normal distribution. */

/** The value of at least 0 that the variable is below with probability p, of at least 1/2: by halving. @internal */
export function normalQuantile(p: number): number {
  let [low, high] = [0, 8];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (normalBelow(middle) < p) low = middle;
    else high = middle;
  }
  return low;
}

/** Φ(x), by its series 1/2 + φ(x)·(x + x³/3 + x⁵/15 + ...). @internal */
export function normalBelow(x: number): number {
  let [term, total] = [Math.abs(x), Math.abs(x)];
  for (let k = 3; term > 1e-17 * total; k += 2) {
    term *= (x * x) / k;
    total += term;
  }
  return 0.5 + Math.sign(x) * total * normalDensity(x);
}

/** φ(x). @internal */
export function normalDensity(x: number): number {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}
