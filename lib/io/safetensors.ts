/**
 * The safetensors format: a JSON header that names dtype, shape and byte range of each tensor, and then the data.
 *
 *     8 bytes      header length n, unsigned 64-bit little-endian
 *     n bytes      JSON: { name: { dtype, shape, data_offsets: [begin, end] }, __metadata__?: { key: text } }
 *     the rest     little-endian values; offsets count from here, and leave neither holes nor overlaps
 *
 * Source: https://github.com/huggingface/safetensors#format. Typed arrays have the byte order of the machine, so this
 * module is for little-endian machines, as are all that Node.js 20 is built for except IBM Z.
 */
import { checkObjects, shortened, shown, shownJson } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { valuesOf } from '../shape.js';
import { writeFileAtomic } from './atomic-file.js';
import { narrowBF16, narrowF16, widenBF16, widenF16 } from './half.js';
import { allocate, readWholeFile } from './read-file.js';

const arrayTypes = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
  // Widened: JavaScript has no arrays of 16-bit floats.
  F16: Float32Array,
  BF16: Float32Array,
} as const;

/** The 16-bit floats: how their bits become float32 values and back. */
const halves = {
  F16: { widen: widenF16, narrow: narrowF16 },
  BF16: { widen: widenBF16, narrow: narrowBF16 },
} as const;

/**
 * The element types that are read and written. `F16` and `BF16` are float32 in memory: widened exactly when they are
 * read, rounded to the nearest when they are written. The format's 8-bit floats aren't among them.
 */
export type SafetensorsDtype = keyof typeof arrayTypes;

/** Bytes of an element in a file. */
function bytesOf(dtype: SafetensorsDtype): number {
  return isHalf(dtype) ? 2 : arrayTypes[dtype].BYTES_PER_ELEMENT;
}

function isHalf(dtype: SafetensorsDtype): dtype is keyof typeof halves {
  return Object.hasOwn(halves, dtype);
}

/** One tensor of a file. `dtype` tells TypeScript the type of `data`. */
export type SafetensorsTensor = {
  [D in SafetensorsDtype]: {
    readonly dtype: D;
    /** Sizes of the dimensions, outermost first; empty for a scalar. */
    readonly shape: readonly number[];
    /** The elements, row-major: as many as the product of `shape`. */
    readonly data: InstanceType<(typeof arrayTypes)[D]>;
  };
}[SafetensorsDtype];

/** The content of a safetensors file. */
export interface SafetensorsFile {
  /** Every tensor by name, in the order of the data in the file. */
  readonly tensors: Map<string, SafetensorsTensor>;
  /** Free texts of the file's `__metadata__`; empty where it has none. */
  readonly metadata: Record<string, string>;
}

/** What the reference implementation accepts at most, in bytes. */
const maxHeaderLength = 100_000_000;

/**
 * Reads a safetensors file.
 *
 * @param path the file
 * @throws KalmanNormError `FILE_NOT_FOUND`, or `FILE_CORRUPT` as for {@link parseSafetensors}
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  return parseSafetensors(await readWholeFile(path, 'a safetensors file'), path);
}

/**
 * Interprets the bytes of a safetensors file.
 *
 * Data that is aligned for its dtype becomes a view of `bytes`, so that loading a large model doesn't double its
 * memory; other data, and 16-bit floats, are copied. Don't change `bytes` afterwards.
 *
 * @param bytes the whole file
 * @param name what to call the file in messages. Default: "the safetensors data"
 * @throws KalmanNormError `FILE_CORRUPT`, naming the file, the tensor, what was expected and what came, where the
 *   header or an offset breaks the format, or a dtype isn't one of {@link SafetensorsDtype}
 */
export function parseSafetensors(bytes: Uint8Array, name = 'the safetensors data'): SafetensorsFile {
  check(bytes instanceof Uint8Array, 'INVALID_ARGUMENT', () => `${name}: expected a Uint8Array, got ${shown(bytes)}`);
  const fail = (message: string, cause?: unknown): never => {
    throw new KalmanNormError('FILE_CORRUPT', `${name}: ${message}`, { cause });
  };
  if (bytes.length < 8) fail(`expected a header length of 8 bytes, but the file has ${bytes.length} bytes`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > maxHeaderLength)
    fail(`expected a header of at most ${maxHeaderLength} bytes, but its length is ${length}`);
  const dataStart = 8 + Number(length);
  if (dataStart > bytes.length)
    fail(`truncated: the header takes ${dataStart} bytes, but the file has ${bytes.length}`);

  const header = parseHeader(bytes.subarray(8, dataStart), fail);
  const dataLength = bytes.length - dataStart;
  let metadata: Record<string, string> = {};
  const entries: { name: string; info: TensorInfo }[] = [];
  for (const [key, value] of Object.entries(header)) {
    if (key === '__metadata__') metadata = parseMetadata(value, fail);
    else
      entries.push({ name: key, info: parseInfo(value, (message) => fail(`tensor "${shortened(key)}": ${message}`)) });
  }
  // Empty tensors share their offset with a neighbour: sorting by both ends puts them before it.
  entries.sort((a, b) => a.info.begin - b.info.begin || a.info.end - b.info.end);

  const tensors = new Map<string, SafetensorsTensor>();
  let end = 0;
  for (const { name, info } of entries) {
    if (info.begin !== end) {
      const fault = info.begin < end ? 'overlaps the tensor before it' : 'leaves a hole before it';
      fail(
        `tensor "${shortened(name)}": ${fault}: expected it to begin at ${end}, but data_offsets begin at ${info.begin}`,
      );
    }
    if (info.end > dataLength) {
      fail(
        `tensor "${shortened(name)}": truncated: data_offsets end at ${info.end}, but the file has ${dataLength} bytes of data`,
      );
    }
    end = info.end;
    const data = viewOrCopy(info.dtype, bytes.subarray(dataStart + info.begin, dataStart + info.end));
    tensors.set(name, { dtype: info.dtype, shape: info.shape, data } as SafetensorsTensor);
  }
  if (end !== dataLength)
    fail(`oversized: the tensors take ${end} bytes, but the file has ${dataLength} bytes of data`);
  return { tensors, metadata };
}

/**
 * Writes a safetensors file atomically: a reader never sees half of it. The tensors are copied before the function
 * returns, so they may change while the file is being written.
 *
 * @param path the file to create or replace; its folder must exist
 * @param tensors what to store, by name
 * @param metadata free texts to store with it. Default: none
 * @throws KalmanNormError synchronously, as {@link serializeSafetensors}; the promise fails as `writeFileAtomic`
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  return writeFileAtomic(path, serializeSafetensors(tensors, metadata));
}

/**
 * Builds the bytes of a safetensors file. The same tensors give the same bytes in whatever order they come: they are
 * stored by falling element size and then by name, which also aligns each for its dtype.
 *
 * @param tensors what to store, by name
 * @param metadata free texts to store with it. Default: none
 * @throws KalmanNormError `INVALID_ARGUMENT` for an unknown dtype, a reserved name, a finite value that F16 can't hold,
 *   more than the format's 100 MB of names and metadata, or more bytes than memory holds; `DTYPE_MISMATCH` where `data`
 *   isn't of the array type of its dtype, `SHAPE_MISMATCH` where it doesn't have the elements of its shape
 */
export function serializeSafetensors(
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  checkObjects('serializeSafetensors', { tensors });
  const entries = Object.entries(tensors);
  for (const [name, tensor] of entries) checkTensor(name, tensor);
  for (const [key, value] of Object.entries(metadata ?? {})) {
    check(typeof value === 'string', 'INVALID_ARGUMENT', `metadata["${key}"]: expected a string, got ${typeof value}`);
  }
  entries.sort(([nameA, a], [nameB, b]) => bytesOf(b.dtype) - bytesOf(a.dtype) || (nameA < nameB ? -1 : 1));

  const header: [string, unknown][] = metadata === undefined ? [] : [['__metadata__', metadata]];
  let dataLength = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    const begin = dataLength;
    dataLength += data.length * bytesOf(dtype);
    header.push([name, { dtype, shape, data_offsets: [begin, dataLength] }]);
  }
  // fromEntries, not assignments: a tensor named "__proto__" must not vanish.
  const json = encodeHeader(Object.fromEntries(header));
  const headerLength = Math.ceil(json.length / 8) * 8;

  const bytes = allocate(8 + headerLength + dataLength, 'tensors');
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.fill(0x20, 8, 8 + headerLength);
  bytes.set(json, 8);
  let offset = 8 + headerLength;
  for (const [, { dtype, data }] of entries) {
    const stored = isHalf(dtype) ? halves[dtype].narrow(data as Float32Array) : data;
    bytes.set(new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength), offset);
    offset += stored.byteLength;
  }
  return bytes;
}

/** What can be written must be readable: longer headers are refused by all readers, ours too. */
function encodeHeader(header: object): Uint8Array {
  const expected = `metadata: expected at most ${maxHeaderLength} bytes of metadata and names`;
  let json: Uint8Array;
  try {
    json = new TextEncoder().encode(JSON.stringify(header));
  } catch (error) {
    throw new KalmanNormError('INVALID_ARGUMENT', `${expected}, got more than a string can hold`, { cause: error });
  }
  // The padding counts, too.
  check(json.length <= maxHeaderLength - 8, 'INVALID_ARGUMENT', `${expected}, got ${json.length}`);
  return json;
}

type Fail = (message: string, cause?: unknown) => never;

interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: number[];
  readonly begin: number;
  readonly end: number;
}

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  if (bytes[0] !== 0x7b) fail('expected the header to start with "{": this is no safetensors file');
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    return fail(`the header isn't JSON in UTF-8: ${(error as Error).message}`, error);
  }
  const record = header as Record<string, unknown>;
  // JSON.parse keeps the last of two equal names in silence; the format forbids them.
  const names = countNames(text);
  const distinct = Object.keys(record).length;
  if (names !== distinct) fail(`expected distinct names in the header, but only ${distinct} of ${names} are`);
  return record;
}

/**
 * The number of names in the outermost object of valid JSON: its colons outside of strings and inner values. A loop, as
 * a regular expression that spans strings runs out of stack on long ones.
 */
function countNames(json: string): number {
  let depth = 0;
  let names = 0;
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (inString) {
      if (character === '\\') i++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === ':' && depth === 1) names++;
  }
  return names;
}

function parseMetadata(value: unknown, fail: Fail): Record<string, string> {
  const isTexts = isRecord(value) && Object.values(value).every((text) => typeof text === 'string');
  if (!isTexts) fail('__metadata__: expected an object of strings');
  return value as Record<string, string>;
}

function parseInfo(value: unknown, fail: Fail): TensorInfo {
  if (!isRecord(value)) return fail(`expected an object, got ${shownJson(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    return fail(`expected a dtype of ${Object.keys(arrayTypes).join(', ')}, got ${shownJson(dtype)}`);
  }
  if (!isSizes(shape)) return fail(`expected a shape of non-negative integers, got ${shownJson(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    return fail(`expected data_offsets [begin, end] with 0 <= begin <= end, got ${shownJson(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  const byteLength = valuesOf(shape) * bytesOf(dtype);
  if (byteLength !== end - begin) {
    fail(`${dtype} of shape ${shownJson(shape)} takes ${byteLength} bytes, but data_offsets span ${end - begin}`);
  }
  return { dtype, shape, begin, end };
}

function viewOrCopy(dtype: SafetensorsDtype, bytes: Uint8Array): SafetensorsTensor['data'] {
  const size = bytesOf(dtype);
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  if (isHalf(dtype)) {
    return halves[dtype].widen(new Uint16Array(buffer, byteOffset, byteLength / size)) as Float32Array<ArrayBuffer>;
  }
  return new arrayTypes[dtype](buffer as ArrayBuffer, byteOffset, byteLength / size);
}

function checkTensor(name: string, tensor: SafetensorsTensor): void {
  checkObjects('tensors', { [name]: tensor });
  const { dtype, shape, data } = tensor;
  check(name !== '__metadata__', 'INVALID_ARGUMENT', 'tensors: the name "__metadata__" is reserved by the format');
  check(
    isDtype(dtype),
    'INVALID_ARGUMENT',
    () => `tensors["${name}"].dtype: expected one of ${Object.keys(arrayTypes).join(', ')}, got ${String(dtype)}`,
  );
  const ArrayType = arrayTypes[dtype];
  check(
    data instanceof ArrayType,
    'DTYPE_MISMATCH',
    () => `tensors["${name}"].data: ${dtype} expects ${ArrayType.name}, got ${Object(data).constructor?.name}`,
  );
  check(
    isSizes(shape),
    'INVALID_ARGUMENT',
    () => `tensors["${name}"].shape: expected non-negative integers, got ${JSON.stringify(shape)}`,
  );
  check(
    valuesOf(shape) === data.length,
    'SHAPE_MISMATCH',
    () => `tensors["${name}"].data: shape [${shape}] expects ${valuesOf(shape)} elements, got ${data.length}`,
  );
  if (dtype !== 'F16') return;
  const big = (data as Float32Array).findIndex((value) => Math.abs(value) >= 65520 && Number.isFinite(value));
  check(
    big < 0,
    'INVALID_ARGUMENT',
    () => `tensors["${name}"].data: F16 holds values up to 65504, got ${data[big]}; BF16 or F32 would do`,
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === 'string' && Object.hasOwn(arrayTypes, value);
}
