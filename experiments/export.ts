/**
 * Writes the network of a run, or of a model file, as ONNX: `npm run export -- RUN_DIR OUT.onnx [--pixels]`.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { check } from '../lib/errors.js';
import { exportOnnx, openDevice, openModel } from '../lib/index.js';
import { runAsProgram, runCommand } from './command.js';

const flags = {
  pixels: { type: 'boolean' },
} as const;

const usage = `usage: npm run export -- RUN_DIR OUT.onnx [--pixels]

Writes what a network computes in inference as an ONNX file: operator set 17, input [N, channels, height, width], any N.

  RUN_DIR   folder of a run, whose model.safetensors is taken, or a model file such as RUN_DIR/best.safetensors
  OUT.onnx  the file; one that is there is replaced

  --pixels  the file takes pixels from 0 to 255 and normalizes them itself. Default: it takes what the network takes`;

/** The command. Returns the exit code. */
export async function main(args: readonly string[], print: (line: string) => void = console.log): Promise<number> {
  return runCommand({ usage, flags }, args, print, async ({ positionals, values }) => {
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
  });
}

await runAsProgram(import.meta.url, main);
