import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import colors from 'picocolors';
import type { Dataset, Device, DownloadProgress, Figures, ProfileEntry, Schedule } from '../lib/index.js';
import type { LayerFigures } from './diagnosis/figures.js';
import { renderLayers, summaryOf } from './diagnosis/table.js';
import type { Configuration } from './options.js';

/** An epoch's line. */
interface EpochLine {
  epoch: number;
  learningRate: number;
  trainLoss: number;
  trainError: number;
  validationLoss: number;
  validationError: number;
  imagesPerSecond: number;
  seconds: number;
}

const percent = (share: number) => `${(share * 100).toFixed(2)} %`;

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
  private readonly bars: MultiBar | null = process.stdout.isTTY
    ? new MultiBar(
        { hideCursor: true, clearOnComplete: true, format: '{label} {bar} {value}/{total} {text}' },
        Presets.shades_classic,
      )
    : null;

  start(
    configuration: Configuration,
    schedule: Schedule,
    device: Device,
    dataset: Dataset,
    parameters: number,
    steps: number,
  ): void {
    const { name, n, batchSize, epochs, norm, seed, logDir } = configuration;
    this.line(colors.bold(`${name}: ResNet-${6 * n + 2}, ${parameters.toLocaleString('en')} parameters`));
    this.line(`  normalization ${JSON.stringify(norm)}`);
    this.line(`  ${epochs} epochs of ${steps} steps, batch ${batchSize}, seed ${seed}`);
    this.line(`  learning rate ${rates(schedule, epochs)} (--schedule ${configuration.schedule})`);
    this.line(`  ${dataset.name}: ${dataset.train.count} training and ${dataset.test.count} test images`);
    if (dataset.note) this.line(`  ${dataset.note}`);
    this.line(`  ${device.description}`);
    this.line(`  writing to ${logDir}`);
  }

  /** Progress of an epoch. */
  epoch(epoch: number, epochs: number): (figures: Figures, totalSteps: number) => void {
    return (figures, total) => {
      const left = (figures.seconds / figures.steps) * (total - figures.steps);
      const text = `loss ${figures.loss.toFixed(3)}  error ${percent(figures.error)}  ${figures.imagesPerSecond.toFixed(0)} images/s  ${left.toFixed(0)} s left`;
      this.show(`epoch ${epoch}/${epochs}`, figures.steps, total, text);
    };
  }

  download({ stage, file, receivedBytes, totalBytes }: DownloadProgress): void {
    const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20);
    this.show(`${stage} ${file}`, mebibytes(receivedBytes), mebibytes(totalBytes ?? receivedBytes), 'MiB');
  }

  finished(record: EpochLine, epochs: number): void {
    this.clear();
    const { epoch, trainLoss, trainError, validationLoss, validationError, imagesPerSecond, learningRate } = record;
    this.line(
      `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}  lr ${learningRate}  train loss ${trainLoss.toFixed(4)} error ${percent(trainError)}  ` +
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
    if (this.bars && this.bar) this.bars.log(`${text}\n`);
    else console.log(text);
  }
}
