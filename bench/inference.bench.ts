import { CifarResNet, type Device, noGrad, scope, type Tensor } from '../lib/index.js';
import type { Case, Context, Suite } from './support/case.js';
import { measureLatency } from './support/measure.js';
import { type Method, methods } from './support/methods.js';
import type { Row } from './support/table.js';
import { normalValues, volume } from './support/values.js';

/**
 * Latency of classifying a batch, as a service sees it: values in from JavaScript, logits out. Batch and Kalman
 * normalization do the same in inference; both are here to show it.
 */
export const inferenceSuite: Suite = ({ smoke }) => {
  const { batchNorm, groupNorm, kalmanSampled } = methods(128);
  const depths = smoke ? [1] : [1, 5, 18];
  const size = smoke ? 16 : 32;
  return depths.flatMap((n) =>
    [batchNorm, groupNorm, kalmanSampled].flatMap((method) =>
      [1, smoke ? 2 : 64].flatMap((batch) =>
        [false, true].map((eager): Case => {
          const label = method.norm.type === 'kalman' ? 'kn' : method.name.split(' ')[0];
          const name = `inference ${label} n=${n} batch=${batch} ${eager ? 'eager' : 'replayed'}`;
          return { name, run: async (context) => [await latency(context, name, { method, n, batch, size, eager })] };
        }),
      ),
    ),
  );
};

async function latency(
  context: Context,
  name: string,
  { method, n, batch, size, eager }: { method: Method; n: number; batch: number; size: number; eager: boolean },
): Promise<Row> {
  const { device } = context;
  const model = new CifarResNet(device, { n, norm: method.norm }).eval();
  const classify = (images: Tensor) => scope(() => noGrad(() => model.forward(images)));
  const shape = [batch, 3, size, size];
  const values = normalValues(volume(shape));
  const request = eager ? eagerRequest(device, shape, classify) : replayedRequest(device, shape, classify);
  try {
    const summary = await measureLatency(() => request.run(values), context.effort(20));
    return { name, unit: 'ms', ...summary, imagesPerSecond: (1000 * batch) / summary.median };
  } finally {
    request.dispose();
    model.dispose();
  }
}

interface Request {
  run(values: Float32Array): Promise<unknown>;
  dispose(): void;
}

function eagerRequest(device: Device, shape: readonly number[], classify: (images: Tensor) => Tensor): Request {
  return {
    run(values) {
      using images = device.tensor(values, shape);
      using logits = classify(images);
      return logits.data();
    },
    dispose() {},
  };
}

function replayedRequest(device: Device, shape: readonly number[], classify: (images: Tensor) => Tensor): Request {
  const images = device.zeros(shape);
  // First uses are no part of a recording.
  classify(images).dispose();
  const { program, result } = device.record(() => classify(images));
  return {
    run(values) {
      images.write(values);
      program.run();
      return result.data();
    },
    dispose() {
      result.dispose();
      program.dispose();
      images.dispose();
    },
  };
}
