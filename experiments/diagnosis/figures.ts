/** Means and variances of channels, split-major; vectors of C values where all splits have the same. */
export interface Gaussians {
  readonly mean: ArrayLike<number>;
  readonly variance: ArrayLike<number>;
}

/** What one layer's filter did in one step. See {@link FilterStep}. */
export interface StepValues {
  readonly prior: Gaussians | null;
  readonly belief: Gaussians | null;
  readonly observation: Gaussians;
  readonly posterior: Gaussians;
  readonly gain: Gaussians;
  /** Whether the reference's guard dropped the prior. */
  readonly dropped: boolean;
}

/** What a layer's filter knew before a step. */
export interface FilterKnowledge {
  readonly running: Gaussians;
  /** Added to variances. */
  readonly epsilon: number;
  /**
   * Of the adaptive filter: what it takes for the belief's error and the observation's noise, [C], and the gate, in
   * multiples of the noise; null where the gain is fixed.
   */
  readonly adaptive: {
    readonly error: ArrayLike<number>;
    readonly noise: ArrayLike<number>;
    readonly gate: number;
  } | null;
  /** Whether running variances include what tells the splits' means apart, as the corrected filter's do. */
  readonly pooled: boolean;
}

/** How far statistics are from others, over channels, splits and steps. */
export interface Distance {
  /** Root mean square difference of the means, in standard deviations. */
  readonly bias: number;
  /** Mean logarithm of the ratio of the variances. */
  readonly logRatio: number;
  /** Root mean square of that logarithm. */
  readonly logError: number;
}

/** A figure of means, and one of log variances. */
export interface Pair {
  readonly mean: number;
  readonly variance: number;
}

/** What the filter of one layer is doing. */
export interface LayerFigures {
  readonly layer: string;
  /** Distances from the population's statistics: those of all the samples of the layer's input together. */
  readonly prior: Distance | null;
  readonly belief: Distance | null;
  readonly observation: Distance;
  readonly posterior: Distance;
  /**
   * Mean log-likelihood of the samples under the belief, in nats a value, less that under the population's Gaussian: 0
   * at best.
   */
  readonly logLikelihood: number | null;
  /** Root mean square of the splits' innovations, in standard deviations of the belief and in logarithms. */
  readonly innovation: Pair | null;
  /**
   * Correlation of the steps' innovations (all splits together) with those of the step before, while weights move: 0 for a
   * filter that leaves nothing to be known, above 0 for one that lags, below 0 for one that follows noise.
   */
  readonly autocorrelation: Pair | null;
  /** Mean of the splits' squared innovations over what the filter expects of them: 1 where it knows its errors. */
  readonly consistency: number | null;
  readonly gain: Pair;
  /** Share of steps in which the reference's guard dropped the prior; of splits and channels where the gate opened. */
  readonly guardTrips: number;
  /** Distance of the running averages from averages taken anew, with weights as they are. */
  readonly running: Distance;
  /** Root mean square over steps of the gradient's norm, of scale and shift. */
  readonly gradientNorm: number;
}

/**
 * The figures of one layer.
 *
 * @param held steps that all began with the same weights and the same state; at least one
 * @param moving steps of training, one after the other
 */
export function figuresOf(
  held: readonly StepValues[],
  moving: readonly StepValues[],
  { running, epsilon, adaptive, pooled }: FilterKnowledge,
): Omit<LayerFigures, 'layer' | 'gradientNorm'> {
  const channels = running.mean.length;
  const population = pool(
    held.map(({ observation }) => observation),
    channels,
    true,
  );
  const anew = pool(
    held.map(({ posterior }) => posterior),
    channels,
    pooled,
  );
  const from = (name: 'prior' | 'belief' | 'observation' | 'posterior') => {
    const values = held.map((step) => step[name]).filter((value) => value !== null);
    return values.length > 0 ? distance(values, population, epsilon) : null;
  };
  const cells = held.flatMap((step) => cellsOf(step, epsilon));
  const over = (value: (cell: Cell) => number) => (cells.length > 0 ? mean(cells.map(value)) : null);
  const [error, noise] = [
    (cell: Cell) => at(adaptive?.error, cell.index),
    (cell: Cell) => at(adaptive?.noise, cell.index),
  ];
  const { gate = 0 } = adaptive ?? {};
  return {
    prior: from('prior'),
    belief: from('belief'),
    observation: from('observation') as Distance,
    posterior: from('posterior') as Distance,
    logLikelihood: over(
      (cell) =>
        logDensity(cell, cell.beliefMean, cell.beliefVariance) -
        logDensity(cell, at(population.mean, cell.index), at(population.variance, cell.index) + epsilon),
    ),
    innovation:
      cells.length > 0
        ? { mean: rms(cells.map((c) => c.innovation)), variance: rms(cells.map((c) => c.logInnovation)) }
        : null,
    autocorrelation: cells.length > 0 && moving.length > 1 ? autocorrelation(moving, channels, epsilon) : null,
    consistency: adaptive && over((cell) => cell.innovation ** 2 / (Math.max(error(cell), 0) + noise(cell))),
    gain: { mean: mean(held.map(gainOf('mean'))), variance: mean(held.map(gainOf('variance'))) },
    guardTrips:
      (adaptive && over((cell) => +(cell.innovation ** 2 > gate * noise(cell)))) ??
      mean(held.map(({ dropped }) => +dropped)),
    running: distance([running], anew, epsilon),
  };
}

/** What is fused with nothing is observed alone. */
const gainOf =
  (name: keyof Pair) =>
  ({ belief, gain, dropped }: StepValues): number =>
    belief && !dropped ? mean(Array.from(gain[name])) : 1;

/** One channel of one split in one step. The belief's variance has epsilon added. */
interface Cell {
  /** Split-major. */
  index: number;
  mean: number;
  variance: number;
  beliefMean: number;
  beliefVariance: number;
  innovation: number;
  logInnovation: number;
}

function cellsOf({ belief, observation }: StepValues, epsilon: number): Cell[] {
  if (!belief) return [];
  return Array.from(observation.mean, (value, i) => {
    const [variance, beliefMean] = [at(observation.variance, i), at(belief.mean, i)];
    const beliefVariance = at(belief.variance, i) + epsilon;
    return {
      index: i,
      mean: value,
      variance,
      beliefMean,
      beliefVariance,
      innovation: (value - beliefMean) / Math.sqrt(beliefVariance),
      logInnovation: Math.log((variance + epsilon) / beliefVariance),
    };
  });
}

/** Of a split's samples, on average, under a Gaussian; without the constant. */
function logDensity({ mean, variance }: Cell, center: number, spread: number): number {
  return -0.5 * (Math.log(spread) + (variance + (mean - center) ** 2) / spread);
}

/** Moments of all splits and steps together; without their means' spread the average of the variances. */
function pool(sets: readonly Gaussians[], channels: number, spread: boolean): { mean: number[]; variance: number[] } {
  const means = new Array<number>(channels).fill(0);
  const variances = new Array<number>(channels).fill(0);
  const count = sets.reduce((sum, { mean }) => sum + mean.length, 0) / channels;
  for (const { mean } of sets) {
    for (let i = 0; i < mean.length; i++) means[i % channels]! += at(mean, i) / count;
  }
  for (const { mean, variance } of sets) {
    for (let i = 0; i < mean.length; i++) {
      const deviation = spread ? at(mean, i) - at(means, i) : 0;
      variances[i % channels]! += (at(variance, i) + deviation ** 2) / count;
    }
  }
  return { mean: means, variance: variances };
}

function distance(sets: readonly Gaussians[], truth: Gaussians, epsilon: number): Distance {
  const biases: number[] = [];
  const ratios: number[] = [];
  for (const { mean, variance } of sets) {
    for (let i = 0; i < mean.length; i++) {
      const spread = at(truth.variance, i) + epsilon;
      biases.push((at(mean, i) - at(truth.mean, i)) / Math.sqrt(spread));
      ratios.push(Math.log((at(variance, i) + epsilon) / spread));
    }
  }
  return { bias: rms(biases), logRatio: mean(ratios), logError: rms(ratios) };
}

/** Of innovations whose mean is taken to be 0, as a filter's should be. */
function autocorrelation(steps: readonly StepValues[], channels: number, epsilon: number): Pair {
  const series = steps.map((step) => {
    const cells = cellsOf(step, epsilon);
    return Array.from({ length: channels }, (_, channel) => {
      const own = Array.from(
        { length: cells.length / channels },
        (_, split) => cells[split * channels + channel] as Cell,
      );
      const innovation = mean(own.map((cell) => cell.innovation));
      // As the filter's correction: a split alone is compared with the belief.
      const apart = mean(own.map((cell) => cell.innovation ** 2)) - (own.length > 1 ? innovation ** 2 : 0);
      const within = mean(own.map((cell) => (cell.variance + epsilon) / cell.beliefVariance));
      return { mean: innovation, variance: Math.log(within + apart) };
    });
  });
  const lag1 = (name: keyof Pair) => {
    let [products, squares] = [0, 0];
    for (const [i, step] of series.slice(1).entries()) {
      for (const [channel, { [name]: now }] of step.entries()) {
        const before = (series[i] as Pair[])[channel]![name];
        products += now * before;
        squares += (now ** 2 + before ** 2) / 2;
      }
    }
    return products / squares;
  };
  return { mean: lag1('mean'), variance: lag1('variance') };
}

/** A vector of C values repeats for every split. */
function at(values: ArrayLike<number> | undefined, i: number): number {
  return values ? (values[i % values.length] as number) : 0;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function rms(values: readonly number[]): number {
  return Math.sqrt(mean(values.map((value) => value ** 2)));
}
