import type { Case, Suite } from './support/case.js';
import { measureWork } from './support/measure.js';
import { methods } from './support/methods.js';
import { TrainingStep } from './support/training-step.js';

/** Whole training steps of the CIFAR networks at batch 128, by every normalization, eager and replayed. */
export const stepSuite: Suite = ({ smoke }) => {
  const batch = smoke ? 8 : 128;
  const size = smoke ? 16 : 32;
  const depths = smoke ? [1] : [1, 5, 18];
  return depths.flatMap((n) =>
    Object.values(methods(batch)).flatMap(({ name: method, norm }) =>
      [false, true].map((eager): Case => {
        const name = `step ${method} n=${n} ${eager ? 'eager' : 'replayed'}`;
        return {
          name,
          async run(context) {
            const step = new TrainingStep(context.device, { n, norm, batch, size, eager });
            try {
              const summary = await measureWork(context.device, (count) => step.enqueue(count), context.effort(7));
              return [{ name, unit: 'ms', ...summary, imagesPerSecond: (1000 * batch) / summary.median }];
            } finally {
              step.dispose();
            }
          },
        };
      }),
    ),
  );
};
