import { fileURLToPath } from 'node:url';
import { Worker } from './worker.js';

/** What TensorFlow.js did: seconds of a step a turn, or the reason why there are none. */
export type TfjsOutcome = { version: string; threads: number; seconds: number[] } | { reason: string };

/**
 * Tries training steps of the batch normalization network on TensorFlow.js's WebAssembly backend, the one that runs in
 * Node without a native addon.
 *
 * @param folder whose `node_modules` has the packages
 */
export async function tryTfjs(
  folder: string,
  task: { threads: number; n: number; batch: number; size: number; turns: number },
): Promise<TfjsOutcome> {
  const script = fileURLToPath(new URL('tfjs_peer.mjs', import.meta.url));
  const worker = new Worker(process.execPath, [script, JSON.stringify({ folder, ...task })], {});
  try {
    const answer = await worker.answer();
    if (answer.missing !== undefined) {
      const install = `npm install --prefix ${folder} @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0`;
      return { reason: `TensorFlow.js is missing (${answer.missing}). Install it with "${install}".` };
    }
    if (answer.error !== undefined) {
      return { reason: `TensorFlow.js ${answer.version} (wasm) can't train this network: ${answer.error}` };
    }
    return answer as unknown as TfjsOutcome;
  } catch (error) {
    return { reason: `TensorFlow.js failed: ${(error as Error).message}` };
  } finally {
    await worker.close();
  }
}
