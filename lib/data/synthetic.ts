import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { type Dataset, formatCount, type ImageSet } from './dataset.js';

/** Options of {@link syntheticDataset}. */
export interface SyntheticOptions {
  /** Number of classes, 2 to 256. Default: 10 */
  readonly classes?: number;
  /** Number of training images, at least 1. Default: 2,000 */
  readonly train?: number;
  /** Number of test images, at least 1. Default: 500 */
  readonly test?: number;
  /** Rows and columns of an image, in pixels, at least 4. Default: 32 */
  readonly size?: number;
  /** Standard deviation of the noise, in grey levels, at least 0. The patterns have an amplitude of 60. Default: 40 */
  readonly noise?: number;
  /** A 32-bit unsigned integer; the same seed gives the same images on every machine. Default: 0 */
  readonly seed?: number;
}

const optionNames: OptionNames<SyntheticOptions> = {
  classes: true,
  train: true,
  test: true,
  size: true,
  noise: true,
  seed: true,
};

const channels = 3;
const amplitude = 60;

/**
 * Makes a data set that a small convolutional network learns within a few epochs, for tests and demos without files.
 *
 * Every class is a grating with a direction, a frequency and a colour of its own. Its phase is drawn for each image,
 * so that single pixels and mean colours say nothing about the class; directions stay within a quarter turn, so that
 * a horizontal flip doesn't make one class of another. Gaussian noise makes the task as hard as wanted. Classes take
 * turns: image i is of class i modulo `classes`, so that any first part of the set is balanced.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for an option outside its domain
 */
export function syntheticDataset(options: SyntheticOptions = {}): Dataset {
  checkOptions('syntheticDataset', options, optionNames);
  const { classes = 10, train = 2000, test = 500, size = 32, noise = 40, seed = 0 } = options;
  checkInteger('classes', classes, 2, 256);
  checkInteger('train', train, 1);
  checkInteger('test', test, 1);
  checkInteger('size', size, 4);
  checkInteger('seed', seed, 0, 2 ** 32 - 1);
  check(noise >= 0 && Number.isFinite(noise), 'INVALID_ARGUMENT', `noise: expected a number from 0, got ${noise}`);

  const random = mulberry32(seed);
  const gratings = Array.from({ length: classes }, (_, c) => grating(c, classes));
  return {
    name: 'synthetic',
    classNames: gratings.map((_, c) => `grating ${c}`),
    channels,
    height: size,
    width: size,
    train: draw(gratings, train, size, noise, random),
    test: draw(gratings, test, size, noise, random),
    note:
      `${formatCount(train)} training and ${formatCount(test)} test images of ${classes} synthetic gratings, ` +
      `noise ${noise}, seed ${seed}.`,
  };
}

interface Grating {
  /** Waves across the image, to the right and downwards. */
  readonly right: number;
  readonly down: number;
  /** Amplitude of each channel, in grey levels. */
  readonly colour: readonly number[];
}

/** Multiples of irrational numbers spread direction and frequency evenly for any number of classes. */
function grating(index: number, classes: number): Grating {
  const angle = (Math.PI / 2) * fraction(index * 0.618034);
  const waves = 2 + 4 * fraction(index * Math.SQRT2);
  const hue = (2 * Math.PI * index) / classes;
  const colour = Array.from({ length: channels }, (_, c) => 0.5 + 0.5 * Math.cos(hue - (2 * Math.PI * c) / channels));
  return {
    right: waves * Math.cos(angle),
    down: waves * Math.sin(angle),
    colour: colour.map((weight) => amplitude * weight),
  };
}

function draw(
  gratings: readonly Grating[],
  count: number,
  size: number,
  noise: number,
  random: () => number,
): ImageSet {
  const images = new Uint8Array(count * channels * size * size);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % gratings.length);
  let pixel = 0;
  for (const label of labels) {
    const { right, down, colour } = gratings[label]!;
    const phase = random();
    for (const strength of colour) {
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const wave = Math.sin(2 * Math.PI * ((right * x + down * y) / size + phase));
          const value = 128 + strength * wave + noise * gaussian(random);
          images[pixel++] = Math.max(0, Math.min(255, Math.round(value)));
        }
      }
    }
  }
  return { images, labels, count };
}

function checkInteger(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  const valid = Number.isInteger(value) && value >= min && value <= max;
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `of ${min} to ${max}`;
  check(valid, 'INVALID_ARGUMENT', `${name}: expected an integer ${range}, got ${value}`);
}

function fraction(x: number): number {
  return x - Math.floor(x);
}

/** A standard normal number, by Box and Muller's method. */
function gaussian(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Uniform numbers in [0, 1), 32 bits each. T. Ettinger's public-domain generator: small, and enough for pictures. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
