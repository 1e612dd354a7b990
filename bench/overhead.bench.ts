import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureOurMemory } from './peers/our-memory.js';
import type { Case, Context, Suite } from './support/case.js';
import { measure } from './support/measure.js';
import { type Method, methods } from './support/methods.js';
import { scaled, summarize } from './support/statistics.js';
import type { Row } from './support/table.js';
import { TrainingStep } from './support/training-step.js';

interface Setting extends Method {
  n: number;
  batch: number;
  size: number;
  eager: boolean;
}

/** What training costs the process besides the device's time: JavaScript, a busy event loop, memory. */
export const overheadSuite: Suite = ({ smoke }) => {
  const batch = smoke ? 8 : 128;
  const size = smoke ? 16 : 32;
  const { batchNorm, kalmanSampled, kalmanAnalytic } = methods(batch);
  const settings = (smoke ? [1] : [1, 5]).flatMap((n) =>
    [batchNorm, kalmanSampled, kalmanAnalytic].flatMap((method) =>
      [false, true].map((eager): Setting => ({ ...method, n, batch, size, eager })),
    ),
  );
  const named = (topic: string, { name, n, eager }: Setting) =>
    `overhead ${topic} ${name} n=${n} ${eager ? 'eager' : 'replayed'}`;
  return [
    ...settings.map((setting): Case => {
      const name = named('js', setting);
      return { name, run: (context) => javascriptTime(context, name, setting) };
    }),
    {
      name: 'overhead loop-delay idle',
      run: async (context) => [
        {
          ...(await loopDelay(context, 'overhead loop-delay idle', () => sleep(250))),
          note: 'the clock ticks at 1 ms',
        },
      ],
    },
    ...settings.map((setting): Case => {
      const name = named('loop-delay', setting);
      return { name, run: async (context) => [await loopDelayInTraining(context, name, setting)] };
    }),
    ...settings.map((setting): Case => {
      const name = named('memory', setting);
      return { name, run: (context) => peakMemory(context, name, setting) };
    }),
  ];
};

/**
 * Time that a step spends in JavaScript: in the calls that enqueue it, and in all of the event loop. Every step is waited
 * for, which is the worst case: a trainer enqueues many at once.
 */
async function javascriptTime(context: Context, name: string, setting: Setting): Promise<Row[]> {
  const { device } = context;
  const step = new TrainingStep(device, setting);
  try {
    await step.run(2);
    const loopShares: number[] = [];
    const callShares: number[] = [];
    const calls = await measure(async () => {
      const loop = performance.eventLoopUtilization();
      const begin = performance.now();
      step.enqueue(1);
      const duration = performance.now() - begin;
      await device.synchronize();
      const cost = performance.now() - begin;
      callShares.push((100 * duration) / cost);
      loopShares.push(100 * performance.eventLoopUtilization(loop).utilization);
      return { duration, cost };
    }, context.effort(20));
    const note = setting.eager ? {} : { note: 'goal: under 1 %' };
    return [
      { name: `${name}: calls`, unit: 'ms', ...calls },
      { name: `${name}: calls, share of the step`, unit: '%', ...summarize(callShares), ...note },
      { name: `${name}: event loop, share of the step`, unit: '%', ...summarize(loopShares), ...note },
    ];
  } finally {
    step.dispose();
  }
}

async function loopDelayInTraining(context: Context, name: string, setting: Setting): Promise<Row> {
  const step = new TrainingStep(context.device, setting);
  try {
    const seconds = (await step.run(2)) / 2;
    // The trainer, too, looks at its losses four times a second; an eager one enqueues what it looks at in one go.
    const chunk = Math.max(1, Math.round(0.25 / seconds));
    const row = await loopDelay(context, name, () => step.run(chunk));
    return setting.eager ? row : { ...row, note: 'goal: under 5 ms' };
  } finally {
    step.dispose();
  }
}

/** The 99th percentile of the time between two turns of the event loop that are 1 ms apart at best; over some windows. */
async function loopDelay(context: Context, name: string, work: () => Promise<unknown>): Promise<Row> {
  const { smoke, time } = context.options;
  const delays: number[] = [];
  for (let window = 0; window < (smoke ? 1 : 5); window++) {
    const histogram = monitorEventLoopDelay({ resolution: 1 });
    const end = performance.now() + (smoke ? 20 : Math.max(time, 1000));
    histogram.enable();
    while (performance.now() < end) await work();
    histogram.disable();
    delays.push(histogram.percentile(99));
  }
  return { name: `${name}: p99`, unit: 'ms', ...scaled(summarize(delays), 1e-6) };
}

/** In a process of its own, as memory that other cases gave back would hide the peak. */
async function peakMemory(context: Context, name: string, { n, norm, batch, size, eager }: Setting): Promise<Row[]> {
  const { device, precision, threads } = context.options;
  const { baseline, peak, tensors } = await measureOurMemory({
    device,
    precision,
    threads,
    n,
    norm,
    batch,
    size,
    eager,
  });
  const row = (what: string, bytes: number): Row => ({
    name: `${name}: ${what}`,
    unit: 'MiB',
    ...scaled(summarize([bytes]), 2 ** -20),
  });
  return [row('process, above its start', peak - baseline), row('tensors', tensors)];
}
