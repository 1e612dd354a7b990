/**
 * Writes the network of a run, or of a model file, as ONNX: `npm run export -- RUN_DIR OUT.onnx [--pixels]`.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { check, KalmanNormError } from '../lib/errors.js';
import { exportOnnx, openDevice, openModel } from '../lib/index.js';
import { inFlags, parseError } from './flags.js';

const flags = {
  pixels: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const usage = `usage: npm run export -- RUN_DIR OUT.onnx [--pixels]

Writes what a network computes in inference as an ONNX file: operator set 17, input [N, channels, height, width], any N.

  RUN_DIR   folder of a run, whose model.safetensors is taken, or a model file such as RUN_DIR/best.safetensors
  OUT.onnx  the file; one that is there is replaced

  --pixels  the file takes pixels from 0 to 255 and normalizes them itself. Default: it takes what the network takes`;

/** The command. Returns the exit code. */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  try {
    const { positionals, values } = parse(args);
    if (values.help === true) {
      print(usage);
      return 0;
    }
    const [from, to] = positionals;
    check(
      from !== undefined && to !== undefined && positionals.length === 2,
      'INVALID_ARGUMENT',
      `expected RUN_DIR and OUT.onnx, got ${positionals.length === 0 ? 'nothing' : positionals.join(' ')}`,
    );
    const isFolder = await stat(from).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    await using device = openDevice('cpu');
    const { model, ...about } = await openModel(isFolder ? join(from, 'model.safetensors') : from, device);
    await exportOnnx(to, model, { ...about, pixels: values.pixels ?? false });
    const { size } = await stat(to);
    print(`${to}: ${model.constructor.name}, ${model.parameterCount()} parameters, ${size} bytes`);
    return 0;
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    console.error(`${inFlags(error.message)}\n\n${usage}`);
    return 1;
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options: flags });
  } catch (error) {
    throw parseError(error, Object.keys(flags));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = await main(process.argv.slice(2));
