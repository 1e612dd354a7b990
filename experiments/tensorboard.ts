import { appendFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

/**
 * Writes scalars as TensorBoard reads them: a file of records (length, its checksum, data, its checksum), each an `Event` of
 * TensorFlow's event.proto.
 */
export class EventFile {
  private constructor(private readonly path: string) {}

  /** Begins a file of its own in a folder, as TensorBoard wants it for a run that is resumed. */
  static async create(folder: string, now = Date.now()): Promise<EventFile> {
    const seconds = String(Math.floor(now / 1000)).padStart(10, '0');
    const path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`);
    const version = bytesField(3, text('brain.Event:2'));
    await writeFile(path, record([...doubleField(1, now / 1000), ...version]));
    return new EventFile(path);
  }

  /** Appends scalars of one step; what isn't a number is left out. */
  async scalars(step: number, values: Readonly<Record<string, number | null>>, now = Date.now()): Promise<void> {
    const summary = Object.entries(values)
      .filter((entry): entry is [string, number] => entry[1] !== null)
      .flatMap(([tag, value]) => bytesField(1, [...bytesField(1, text(tag)), ...floatField(2, value)]));
    const event = [...doubleField(1, now / 1000), ...varintField(2, step), ...bytesField(5, summary)];
    await appendFile(this.path, record(event));
  }
}

type Bytes = readonly number[];

function record(data: Bytes): Uint8Array {
  const length = little((view) => view.setBigUint64(0, BigInt(data.length), true), 8);
  return Uint8Array.from([...length, ...checksum(length), ...data, ...checksum(data)]);
}

/** Field numbers and wire types of protocol buffers: 0 varint, 1 eight bytes, 2 a length and bytes, 5 four bytes. */
function varintField(field: number, value: number): Bytes {
  return [...varint(field << 3), ...varint(value)];
}

function doubleField(field: number, value: number): Bytes {
  return [...varint((field << 3) | 1), ...little((view) => view.setFloat64(0, value, true), 8)];
}

function bytesField(field: number, bytes: Bytes): Bytes {
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}

function floatField(field: number, value: number): Bytes {
  return [...varint((field << 3) | 5), ...little((view) => view.setFloat32(0, value, true), 4)];
}

function varint(value: number): Bytes {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

function text(value: string): Bytes {
  return [...new TextEncoder().encode(value)];
}

function little(write: (view: DataView) => void, length: number): Bytes {
  const bytes = new Uint8Array(length);
  write(new DataView(bytes.buffer));
  return [...bytes];
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), masked as TFRecord has it. */
function checksum(data: Bytes): Bytes {
  let crc = 0xffffffff;
  for (const byte of data) crc = (table[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  crc = ~crc >>> 0;
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  return little((view) => view.setUint32(0, masked, true), 4);
}
