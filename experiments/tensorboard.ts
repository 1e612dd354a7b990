import { appendFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Message } from '../lib/export/protobuf.js';

/**
 * Writes scalars and histograms as TensorBoard reads them: a file of records (length, its checksum, data, its checksum),
 * each an `Event` of TensorFlow's event.proto.
 */
export class EventFile {
  private constructor(private readonly path: string) {}

  /** Begins a file of its own in a folder, as TensorBoard wants it for a run that is resumed. */
  static async create(folder: string, now = Date.now()): Promise<EventFile> {
    const seconds = String(Math.floor(now / 1000)).padStart(10, '0');
    const path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`);
    await writeFile(
      path,
      record(
        new Message()
          .double(1, now / 1000)
          .text(3, 'brain.Event:2')
          .bytes(),
      ),
    );
    return new EventFile(path);
  }

  /** Appends scalars of one step; what isn't a number is left out. */
  async scalars(step: number, values: Readonly<Record<string, number | null>>, now = Date.now()): Promise<void> {
    const known = Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== null);
    await this.append(
      step,
      known.map(([tag, value]) => new Message().text(1, tag).float(2, value)),
      now,
    );
  }

  /** Appends histograms of one step; what isn't finite is left out, and so is what has no finite value. */
  async histograms(step: number, values: ReadonlyMap<string, Iterable<number>>, now = Date.now()): Promise<void> {
    const summaries: Message[] = [];
    for (const [tag, all] of values) {
      const histogram = histogramOf([...all].filter(Number.isFinite));
      if (histogram) summaries.push(new Message().text(1, tag).message(5, histogram));
    }
    await this.append(step, summaries, now);
  }

  private async append(step: number, values: readonly Message[], now: number): Promise<void> {
    const summary = new Message().messages(1, values);
    await appendFile(
      this.path,
      record(
        new Message()
          .double(1, now / 1000)
          .int(2, step)
          .message(5, summary)
          .bytes(),
      ),
    );
  }
}

/** How many buckets of equal width a histogram has. */
const buckets = 64;

/** TensorFlow's HistogramProto: least, largest, count, sum, sum of squares, the buckets' upper limits, their counts. */
function histogramOf(values: readonly number[]): Message | null {
  if (values.length === 0) return null;
  let [low, high, sum, squares] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    sum += value;
    squares += value * value;
  }
  const width = (high - low) / buckets;
  const counts = Array.from({ length: width > 0 ? buckets : 1 }, () => 0);
  for (const value of values) {
    const bucket = width > 0 ? Math.min(buckets - 1, Math.floor((value - low) / width)) : 0;
    counts[bucket] = (counts[bucket] as number) + 1;
  }
  const limits = counts.map((_, i) => (i === counts.length - 1 ? high : low + (i + 1) * width));
  return new Message()
    .double(1, low)
    .double(2, high)
    .double(3, values.length)
    .double(4, sum)
    .double(5, squares)
    .doubles(6, limits)
    .doubles(7, counts);
}

function record(data: Uint8Array): Uint8Array {
  const all = new Uint8Array(16 + data.length);
  const view = new DataView(all.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, checksum(all.subarray(0, 8)), true);
  all.set(data, 12);
  view.setUint32(12 + data.length, checksum(data), true);
  return all;
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), masked as TFRecord has it. */
function checksum(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (table[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
