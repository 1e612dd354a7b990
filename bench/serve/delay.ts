import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between two looks at the event loop, which the histogram counts as delay. */
const RESOLUTION = 1;

/** Looks at the event loop and says how late it was, in milliseconds, since it was last asked. */
export class LoopDelay {
  private readonly histogram = monitorEventLoopDelay({ resolution: RESOLUTION });

  constructor() {
    this.histogram.enable();
  }

  /** What 99 % of the loop's turns stayed below, and the most. */
  take(): { p99: number; max: number } {
    const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION);
    const [p99, max] = [this.histogram.percentile(99), this.histogram.max].map(milliseconds) as [number, number];
    this.histogram.reset();
    return { p99, max };
  }

  stop(): void {
    this.histogram.disable();
  }
}

/** How late the event loop was at the most while something ran that began in a quiet loop. */
export async function delayDuring(run: () => Promise<unknown>): Promise<number> {
  const delay = new LoopDelay();
  // The histogram counts from its first look on, and counts a turn when it is over.
  const look = () => sleep(3 * RESOLUTION);
  try {
    await look();
    delay.take();
    await run();
    await look();
    return delay.take().max;
  } finally {
    delay.stop();
  }
}
