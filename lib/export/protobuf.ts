/** Writing of protocol buffers (https://protobuf.dev/programming-guides/encoding), as far as ONNX and TensorBoard need it. */

/** The wire types in use. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/**
 * A message, field by field. Parts are kept as they come, so that weights are copied once, when the whole is put together.
 *
 * @example
 * const pair = new Message().text(1, 'mean').text(2, '0.5');
 * const file = new Message().message(14, pair).bytes();
 */
export class Message {
  private readonly parts: Uint8Array[] = [];
  private length = 0;

  /** A whole number of at least 0, or a negative one as 64 bits of two's complement. */
  int(field: number, value: number | bigint): this {
    return this.push([varint(tag(field, VARINT)), varint(value)]);
  }

  /** Whole numbers, not packed: what the second syntax of the language has by default, and every reader takes. */
  ints(field: number, values: readonly number[]): this {
    for (const value of values) this.int(field, value);
    return this;
  }

  float(field: number, value: number): this {
    return this.push([varint(tag(field, FIXED32)), bytesOf(Float32Array.of(value))]);
  }

  double(field: number, value: number): this {
    return this.push([varint(tag(field, FIXED64)), bytesOf(Float64Array.of(value))]);
  }

  /** Numbers of 64 bits, packed. */
  doubles(field: number, values: readonly number[]): this {
    return this.raw(field, bytesOf(Float64Array.from(values)));
  }

  text(field: number, value: string): this {
    return this.block(field, [new TextEncoder().encode(value)]);
  }

  /** Bytes as they are; not copied before {@link Message.bytes}. */
  raw(field: number, value: Uint8Array): this {
    return this.block(field, [value]);
  }

  message(field: number, value: Message): this {
    return this.block(field, value.parts);
  }

  messages(field: number, values: Iterable<Message>): this {
    for (const value of values) this.message(field, value);
    return this;
  }

  /** Number of bytes of the message. */
  get size(): number {
    return this.length;
  }

  /** The message as one block. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  private block(field: number, parts: readonly Uint8Array[]): this {
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    return this.push([varint(tag(field, BYTES)), varint(size)]).push(parts);
  }

  private push(parts: readonly Uint8Array[]): this {
    for (const part of parts) {
      this.parts.push(part);
      this.length += part.length;
    }
    return this;
  }
}

/** Numbers as their bytes, not copied. Little-endian, as every machine that Node runs on. */
export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function tag(field: number, wireType: number): number {
  return field * 8 + wireType;
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. */
function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
