/** The readers of files from elsewhere, and how a case for each is made. */

import { parseLog } from '../../experiments/report/log.js';
import {
  buildModel,
  type Module,
  type ModuleSpec,
  openDevice,
  parseSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
} from '../../lib/index.js';
import { digestOf, parseCheckpoint } from '../../lib/io/checkpoint.js';
import { widenBF16, widenF16 } from '../../lib/io/half.js';
import { parseModel } from '../../lib/io/model-file.js';
import type { TestRandom } from '../support/random.js';
import { cifar, fashion } from './folders.js';
import { jpeg } from './jpeg.js';
import { mutateBytes, mutateJson, pick, writeJson } from './mutate.js';
import { specs } from './specs.js';
import { isKept, type Target } from './target.js';

/** The bytes of a safetensors file with any header text. */
function assemble(header: string, data: Uint8Array, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length ?? BigInt(text.length));
  return new Uint8Array(Buffer.concat([start, text, data]));
}

/** A file with its header and data apart. */
function takeApart(bytes: Uint8Array): { header: Record<string, unknown>; data: Uint8Array } {
  const end = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  return { header: JSON.parse(Buffer.from(bytes.subarray(8, end)).toString()), data: bytes.subarray(end) };
}

const wrongLengths = [0n, 7n, 100_000_001n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** Damages a safetensors file: its bytes, its header, or the length of its header. */
function damage(random: TestRandom, bytes: Uint8Array): Uint8Array {
  const way = random.below(8);
  if (way < 3) return mutateBytes(random, bytes);
  const { header, data } = takeApart(bytes);
  if (way === 3) return assemble(JSON.stringify(header), data, pick(random, wrongLengths));
  const text = writeJson(mutateJson(random, header));
  return assemble(text, way === 4 ? mutateBytes(random, data) : data);
}

const dtypes = {
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
  F16: Uint16Array,
  BF16: Uint16Array,
} as const;
const widen = { F16: widenF16, BF16: widenBF16 };
// Makes their tables, which are no single file's.
for (const half of Object.values(widen)) half(new Uint16Array(1));
const names = ['w', '', '__proto__', '7', 'a"b', 'ç\u2028', 'a/b', 'toString'];

function randomTensors(random: TestRandom): Record<string, SafetensorsTensor> {
  const entries = Array.from({ length: random.below(5) }, () => {
    const dtype = pick(random, Object.keys(dtypes) as (keyof typeof dtypes)[]);
    const shape = Array.from({ length: random.below(4) }, () => random.below(4));
    const bytes = new Uint8Array(shape.reduce((a, b) => a * b, dtypes[dtype].BYTES_PER_ELEMENT));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
    const own = new dtypes[dtype](bytes.buffer);
    const isHalf = dtype === 'F16' || dtype === 'BF16';
    // Not a number of many bits: they needn't come back.
    const data = isHalf ? widen[dtype](own as Uint16Array).map((value) => value || 0) : own;
    return [pick(random, names), { dtype, shape, data }];
  });
  return Object.fromEntries(entries);
}

function mustBe(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const safetensors: Target = {
  name: 'safetensors',
  share: 1,
  codes: ['FILE_CORRUPT'],
  make(random) {
    const metadata: Record<string, string> = random.below(2) ? { note: pick(random, names) } : {};
    const whole = serializeSafetensors(randomTensors(random), metadata);
    const valid = isKept(random);
    const bytes = valid ? whole : damage(random, whole);
    return {
      size: bytes.length,
      valid,
      read() {
        const { tensors, metadata } = parseSafetensors(bytes);
        // Whatever is accepted is a whole file: it can be written, and comes back.
        const again = serializeSafetensors(Object.fromEntries(tensors), metadata);
        mustBe(parseSafetensors(again).tensors.size === tensors.size, 'a tensor is lost');
        if (valid) mustBe(Buffer.compare(again, whole) === 0, 'other bytes came back');
      },
    };
  },
};

const device = openDevice('cpu', { threads: 1 });
/** What the device may hold at once for a file: four bytes a value, twice, and rounding for each tensor. */
const deviceLimit = (size: number) => 16 * size + 2 ** 20;

/** Runs a body that makes a model; checks what the device held, and that a failure leaves nothing. */
function withModel(size: number, body: () => Module): void {
  const before = device.memoryStats().inUse;
  try {
    const model = body();
    const used = device.memoryStats().inUse - before;
    model.dispose();
    mustBe(used <= deviceLimit(size), `the device held ${used} bytes for ${size}`);
  } finally {
    const left = device.memoryStats().inUse - before;
    mustBe(left <= 0, `${left} bytes are left on the device`);
  }
}

/** The parameters and buffers of each spec. */
const states = await Promise.all(
  specs.map(async (spec) => {
    const model = buildModel(device, spec);
    const values = await model.stateValues();
    model.dispose();
    const tensors = [...values].map(([name, { shape, data }]) => {
      const dtype = data instanceof Float32Array ? 'F32' : data instanceof Int32Array ? 'I32' : 'U8';
      return [name, { dtype, shape, data } as SafetensorsTensor] as const;
    });
    return { spec, tensors: Object.fromEntries(tensors) };
  }),
);

const description = {
  classNames: ['a', 'b'],
  input: { channels: 2, height: 2, width: 1 },
  normalization: { mean: [1, 2], scale: [1, 0.5] },
};

const model: Target = {
  name: 'model',
  share: 1,
  codes: ['FILE_CORRUPT', 'STATE_MISMATCH', 'UNKNOWN_VERSION'],
  make(random) {
    const { spec, tensors: own } = pick(random, states);
    const valid = isKept(random);
    let about: unknown = { version: 1, architecture: spec, ...(random.below(2) ? description : {}) };
    const way = valid ? 0 : random.below(4);
    // The tensors of another network, or damage to the description, or to the bytes.
    const tensors = way === 3 ? pick(random, states).tensors : own;
    if (way === 1 || way === 2) about = mutateJson(random, about);
    const text = writeJson(about);
    const whole = serializeSafetensors(tensors, { kalman_norm: text });
    const bytes = valid || way > 0 ? whole : damage(random, whole);
    return {
      size: bytes.length,
      valid,
      read: () => withModel(bytes.length, () => parseModel(bytes, 'x.safetensors', device).model),
    };
  },
};

const spec: Target = {
  name: 'spec',
  share: 1,
  codes: ['INVALID_ARGUMENT'],
  make(random) {
    const { spec, tensors } = pick(random, states);
    const valid = isKept(random);
    const text = valid ? JSON.stringify(spec) : writeJson(mutateJson(random, spec));
    const maxValues = valid ? Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0) : 1000;
    const size = text.length + 4 * maxValues;
    const parsed: ModuleSpec = JSON.parse(text);
    return { size, valid, read: () => withModel(size, () => buildModel(device, parsed, { maxValues })) };
  },
};

/** Parts of a checkpoint. */
const parts = ['model', 'optimizer'];

const checkpoint: Target = {
  name: 'checkpoint',
  share: 1,
  codes: ['FILE_CORRUPT', 'STATE_MISMATCH', 'UNKNOWN_VERSION'],
  make(random) {
    const valid = isKept(random);
    const tensors = Object.fromEntries(
      Object.entries(randomTensors(random)).map(([name, tensor]) => [
        `${pick(random, valid ? parts : [...parts, 'other'])}/${name}`,
        tensor,
      ]),
    );
    const way = valid ? 0 : random.below(3);
    const about = { version: 1, step: random.below(100), data: { epoch: 1 } };
    const content =
      way === 1
        ? writeJson(mutateJson(random, about))
        : way === 2
          ? Buffer.from(mutateBytes(random, Buffer.from(JSON.stringify(about)))).toString()
          : JSON.stringify(about);
    // With the right digest, which anybody can compute.
    const whole = serializeSafetensors(tensors, {
      'kalman_norm.checkpoint': content,
      digest: digestOf(content, tensors),
    });
    const bytes = valid || way > 0 ? whole : damage(random, whole);
    return {
      size: bytes.length,
      valid,
      read() {
        const { step, states } = parseCheckpoint(bytes, 'x.safetensors', parts);
        if (!valid) return;
        mustBe(step === about.step, 'another step came back');
        const count = [...states.values()].reduce((sum, { size }) => sum + size, 0);
        mustBe(count === Object.keys(tensors).length, 'a tensor is lost');
      },
    };
  },
};

const line = {
  type: 'epoch',
  epoch: 1,
  step: 10,
  learningRate: 0.1,
  trainLoss: null,
  trainError: 0.5,
  validationLoss: 1,
  validationError: 0.5,
  imagesPerSecond: 100,
  seconds: 1,
};
const side = { bias: 0.1, logRatio: 0.1 };
const layer = {
  layer: 'conv1',
  prior: side,
  belief: side,
  observation: side,
  posterior: side,
  logLikelihood: 0.1,
  autocorrelation: { mean: 0.1, variance: 0 },
  consistency: 1,
  gain: { mean: 0.1, variance: 0.1 },
  guardTrips: 0,
  gradientNorm: 1,
};
const records: readonly object[] = [
  { type: 'config', name: 'cifar', label: 'a run', seed: 1 },
  line,
  { type: 'diagnosis', epoch: 1, layers: [layer, { ...layer, prior: null }] },
  { ...line, epoch: 2 },
  { type: 'end', reason: 'finished' },
];

const log: Target = {
  name: 'log',
  share: 1,
  codes: ['FILE_CORRUPT'],
  make(random) {
    const valid = isKept(random);
    const changed = random.below(records.length);
    const damaged = !valid && random.below(2) === 0;
    const lines = records.map((record, i) =>
      damaged || valid || i !== changed ? JSON.stringify(record) : writeJson(mutateJson(random, record)),
    );
    const whole = Buffer.from(`${lines.join('\n')}\n`);
    const text = new TextDecoder().decode(damaged ? mutateBytes(random, whole) : whole);
    return {
      size: text.length,
      valid,
      read() {
        const run = parseLog(text, 'run');
        mustBe(
          run.epochs.every(({ trainError }) => trainError === null || Number.isFinite(trainError)),
          'a figure is none',
        );
        mustBe(typeof run.label === 'string', 'the label is no text');
        if (valid)
          mustBe(run.epochs.length === 2 && run.status === 'finished' && run.diagnoses?.length === 1, 'a line is lost');
      },
    };
  },
};

export const targets: readonly Target[] = [safetensors, model, spec, checkpoint, log, cifar, fashion, ...jpeg];

/** Frees the device and removes the folders. */
export function disposeTargets(): void {
  for (const target of targets) target.dispose?.();
  device.dispose();
}
