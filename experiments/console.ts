import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import colors from 'picocolors';
import type { Dataset, Device, DownloadProgress, Figures, ProfileEntry, Schedule } from '../lib/index.js';
import type { LayerFigures } from './diagnosis/figures.js';
import { renderLayers, summaryOf } from './diagnosis/table.js';
import type { Configuration } from './options.js';
import type { EpochRecord } from './training.js';

const percent = (share: number) => `${(share * 100).toFixed(2)} %`;

/** Milliseconds between two lines about an epoch where there is no terminal: those of ImageNet take hours. */
const LINE_INTERVAL = 60_000;

/** A duration for people: "42 s", "12 min", "3.5 h", "2.1 d". */
function duration(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  if (seconds < 6000) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}

/** The rates of a schedule: "0.01, then 0.1 from epoch 2". */
function rates(schedule: Schedule, epochs: number): string {
  const changes = Array.from({ length: epochs }, (_, i) => i + 1).filter(
    (epoch) => epoch > 1 && schedule(epoch) !== schedule(epoch - 1),
  );
  const text = (epoch: number) => `${+schedule(epoch).toPrecision(6)}`;
  return [text(1), ...changes.map((epoch) => `${text(epoch)} from epoch ${epoch}`)].join(', then ');
}

/** What a run shows: a progress bar on a terminal, a line an epoch everywhere. */
export class Console {
  private bar: SingleBar | null = null;
  private readonly bars: MultiBar | null;

  /** @param options.quiet show nothing at all */
  constructor(private readonly options: { quiet?: boolean } = {}) {
    this.bars =
      process.stdout.isTTY && !options.quiet
        ? new MultiBar(
            { hideCursor: true, clearOnComplete: true, format: '{label} {bar} {value}/{total} {text}' },
            Presets.shades_classic,
          )
        : null;
  }

  start(
    configuration: Configuration,
    schedule: Schedule,
    device: Device,
    dataset: Dataset,
    parameters: number,
    steps: number,
  ): void {
    const { name, n, batchSize, epochs, norm, seed, logDir } = configuration;
    this.begin(`${name}: ResNet-${6 * n + 2}, ${parameters.toLocaleString('en')} parameters`, [
      `normalization ${JSON.stringify(norm)}`,
      `${epochs} epochs of ${steps} steps, batch ${batchSize}, seed ${seed}`,
      `learning rate ${rates(schedule, epochs)} (--schedule ${configuration.schedule})`,
      `${dataset.name}: ${dataset.train.count} training and ${dataset.test.count} test images`,
      ...(dataset.note ? [dataset.note] : []),
      device.description,
      `writing to ${logDir}`,
    ]);
  }

  /** What a run is, and the lines about it. */
  begin(title: string, lines: readonly string[]): void {
    this.line(colors.bold(title));
    for (const line of lines) this.line(`  ${line}`);
  }

  /** Progress of an epoch: on a terminal a bar, elsewhere a line a minute. */
  epoch(epoch: number, epochs: number): (figures: Figures, totalSteps: number) => void {
    let told = performance.now();
    return (figures, total) => {
      const step = figures.seconds / figures.steps;
      const left = step * (total - figures.steps);
      const all = left + step * total * (epochs - epoch);
      const text =
        `loss ${figures.loss.toFixed(3)}  error ${percent(figures.error)}  ${figures.imagesPerSecond.toFixed(0)} images/s  ` +
        `${duration(left)} left${epoch < epochs ? `, ${duration(all)} of training` : ''}`;
      const label = `epoch ${epoch}/${epochs}`;
      this.show(label, figures.steps, total, text);
      if (this.bars || performance.now() - told < LINE_INTERVAL) return;
      told = performance.now();
      this.line(`${label}  step ${figures.steps}/${total}  ${text}`);
    };
  }

  /** Progress of something that is counted. */
  counter(label: string): (done: number, total: number) => void {
    return (done, total) => this.show(label, done, total, '');
  }

  download({ stage, file, receivedBytes, totalBytes }: DownloadProgress): void {
    const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20);
    this.show(`${stage} ${file}`, mebibytes(receivedBytes), mebibytes(totalBytes ?? receivedBytes), 'MiB');
  }

  finished(record: EpochRecord, epochs: number): void {
    this.clear();
    const { epoch, trainLoss, trainError, validationLoss, validationError, imagesPerSecond, learningRate } = record;
    this.line(
      `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}  lr ${+learningRate.toPrecision(4)}  train loss ${trainLoss.toFixed(4)} error ${percent(trainError)}  ` +
        `validation loss ${validationLoss.toFixed(4)} error ${colors.bold(percent(validationError))}  ${imagesPerSecond.toFixed(0)} images/s`,
    );
  }

  /** What filters are doing, in a line. */
  filter(layers: readonly LayerFigures[]): void {
    this.line(`  ${summaryOf(layers)}`);
  }

  /** What filters are doing, layer by layer. */
  layers(layers: readonly LayerFigures[]): void {
    this.line(renderLayers(layers));
  }

  stopped(epoch: number, file: string): void {
    this.clear();
    this.line(`stopped in epoch ${epoch}; the model is in ${file}`);
  }

  /** Time by kind of launch. */
  profile(entries: Record<string, ProfileEntry>): void {
    const total = Object.values(entries).reduce((sum, { nanoseconds }) => sum + nanoseconds, 0);
    const sorted = Object.entries(entries).sort(([, a], [, b]) => b.nanoseconds - a.nanoseconds);
    for (const [name, { calls, nanoseconds }] of sorted) {
      const share = ((100 * nanoseconds) / total).toFixed(1);
      this.line(
        `${name.padEnd(24)} ${String(calls).padStart(8)} calls ${(nanoseconds / 1e9).toFixed(3).padStart(9)} s ${share.padStart(5)} %`,
      );
    }
  }

  note(text: string): void {
    this.line(colors.yellow(text));
  }

  close(): void {
    this.clear();
    this.bars?.stop();
  }

  private show(label: string, value: number, total: number, text: string): void {
    if (!this.bars) return;
    this.bar ??= this.bars.create(total, 0, { label, text });
    this.bar.setTotal(total);
    this.bar.update(value, { label, text });
  }

  private clear(): void {
    if (this.bar) this.bars?.remove(this.bar);
    this.bar = null;
  }

  private line(text: string): void {
    if (this.options.quiet) return;
    if (this.bars && this.bar) this.bars.log(`${text}\n`);
    else console.log(text);
  }
}
