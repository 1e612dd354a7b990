/**
 * Names of the whole models' parameters and buffers, in the reference and here. The reference's five programs name the
 * same places differently: `kn0`, `bn0` and `conv0/bn` are all the norm behind the first convolution.
 */

const places: readonly (readonly [RegExp, string])[] = [
  [/^conv0$/, 'conv0'],
  [/^(kn0|bn0|conv0\/bn)$/, 'norm0'],
  [/^res(\d+)\.(\d+)\/(conv1_kn\/)?conv1$/, 'stage$1.$2.conv1'],
  [/^res(\d+)\.(\d+)\/(conv2_kn\/)?conv2$/, 'stage$1.$2.conv2'],
  [/^res(\d+)\.(\d+)\/(kn|bn)$/, 'stage$1.$2.norm1'],
  [/^res(\d+)\.(\d+)\/(kn1|bn1|conv1\/bn)$/, 'stage$1.$2.norm2'],
  [/^(knlast|bnlast|bnlast\/bn)$/, 'normLast'],
  [/^linear$/, 'linear'],
];

const values: Readonly<Record<string, string>> = {
  W: 'weight',
  b: 'bias',
  gamma: 'gamma',
  beta: 'beta',
  'mean/EMA': 'runningMean',
  'variance/EMA': 'runningVariance',
};

/** The name in `CifarResNet` of a parameter or buffer of the reference; null for an unknown one. */
export function ownName(reference: string): string | null {
  const [, place = '', value = ''] = /^(.+?)\/(W|b|gamma|beta|mean\/EMA|variance\/EMA)$/.exec(reference) ?? [];
  const known = places.find(([pattern]) => pattern.test(place));
  return known && values[value] ? `${place.replace(known[0], known[1])}.${values[value]}` : null;
}
