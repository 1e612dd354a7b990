import { check } from '../errors.js';
import { bytesOf, Message } from './protobuf.js';

/** Operators as they were in ONNX 1.12; every runtime of the last years has them. */
const OPSET = 17;
const IR_VERSION = 8;
/** A protocol buffer ends at 2 GiB; most readers' limit. */
const MOST_BYTES = 2 ** 31 - 1;

/** Numbers of onnx.proto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto */
const elementType = { FLOAT: 1, INT64: 7 } as const;
const attributeType = { FLOAT: 1, INT: 2, INTS: 7 } as const;

/** What a node is told beside its inputs: whole numbers, lists of them, or `{ float }`. */
export type Attributes = Readonly<Record<string, number | readonly number[] | { readonly float: number }>>;

/** A value of the graph: its name, and its sizes behind those of the batch. */
export interface OnnxValue {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A text that is kept beside the graph. */
export type OnnxMetadata = Readonly<Record<string, string>>;

/** An ONNX model on its way to a file: nodes in the order in which they are added, and constants by name. */
export class OnnxGraph {
  private readonly nodes: Message[] = [];
  private readonly constants = new Map<string, Message>();

  /**
   * Adds a node of one result.
   *
   * @param inputs names of values and constants
   * @returns the result's name
   */
  node(type: string, inputs: readonly string[], attributes: Attributes = {}): string {
    const output = `${type}_${this.nodes.length}`;
    const message = new Message();
    for (const input of inputs) message.text(1, input);
    message.text(2, output).text(3, output).text(4, type);
    this.nodes.push(message.messages(5, Object.entries(attributes).map(attribute)));
    return output;
  }

  /** Adds a float32 constant, once a name. */
  floats(name: string, shape: readonly number[], values: Float32Array): string {
    return this.constant(name, shape, elementType.FLOAT, bytesOf(values));
  }

  /** A single float32 constant. */
  float(value: number): string {
    return this.floats(`float ${value}`, [], Float32Array.of(value));
  }

  /** Whole numbers, such as a shape. */
  ints(values: readonly number[]): string {
    const bytes = bytesOf(BigInt64Array.from(values, BigInt));
    return this.constant(`ints ${values.join(' ')}`, [values.length], elementType.INT64, bytes);
  }

  private constant(name: string, shape: readonly number[], type: number, bytes: Uint8Array): string {
    if (!this.constants.has(name)) {
      this.constants.set(name, new Message().ints(1, shape).int(2, type).text(8, name).raw(9, bytes));
    }
    return name;
  }

  /**
   * The file's content.
   *
   * @param name of the graph
   * @param input that a runtime feeds, float32 [N, ...shape]
   * @param output with the name that it gets, and the result of the node that it comes from
   * @throws KalmanNormError `INVALID_ARGUMENT` for 2 GiB and more
   */
  serialize(name: string, input: OnnxValue, output: OnnxValue & { from: string }, metadata: OnnxMetadata): Uint8Array {
    this.nodes.push(new Message().text(1, output.from).text(2, output.name).text(3, output.name).text(4, 'Identity'));
    const graph = new Message()
      .messages(1, this.nodes)
      .text(2, name)
      .messages(5, this.constants.values())
      .message(11, declaration(input))
      .message(12, declaration(output));
    const model = new Message()
      .int(1, IR_VERSION)
      .text(2, 'kalman-norm')
      .message(7, graph)
      .message(8, new Message().text(1, '').int(2, OPSET))
      .messages(
        14,
        Object.entries(metadata).map(([key, text]) => new Message().text(1, key).text(2, text)),
      );
    check(
      model.size <= MOST_BYTES,
      'INVALID_ARGUMENT',
      `exportOnnx: an ONNX file holds ${MOST_BYTES} bytes, the model needs ${model.size}`,
    );
    return model.bytes();
  }
}

function attribute([name, value]: [string, Attributes[string]]): Message {
  const message = new Message().text(1, name);
  if (typeof value === 'number') return message.int(3, value).int(20, attributeType.INT);
  if ('float' in value) return message.float(2, value.float).int(20, attributeType.FLOAT);
  return message.ints(8, value).int(20, attributeType.INTS);
}

function declaration({ name, shape }: OnnxValue): Message {
  const sizes = [new Message().text(2, 'N'), ...shape.map((size) => new Message().int(1, size))];
  const tensor = new Message().int(1, elementType.FLOAT).message(2, new Message().messages(1, sizes));
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}
