import { InferenceSession, Tensor } from 'onnxruntime-web';

/**
 * What ONNX Runtime makes of a model with one input and one output, on the CPU. It is the build for WebAssembly, which
 * downloads nothing when it is installed.
 */
export async function runOnnx(
  model: Uint8Array,
  input: Float32Array,
  shape: readonly number[],
): Promise<{ data: Float32Array; shape: number[] }> {
  const session = await InferenceSession.create(model, { executionProviders: ['wasm'] });
  try {
    const { output } = await session.run({ input: new Tensor('float32', input, shape) });
    if (!output) throw new Error('the model has no "output"');
    return { data: output.data as Float32Array, shape: [...output.dims] };
  } finally {
    await session.release();
  }
}
