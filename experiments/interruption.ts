import { constants } from 'node:os';

/** The signals that ask a program to end. */
const asking = ['SIGINT', 'SIGTERM'] as const;

/** Exit code of a program that a signal asked to end, as shells give it: 130 for SIGINT, 143 for SIGTERM. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Whether a program ended because it was asked to, by Ctrl-C or as schedulers do it. */
export function wasInterrupted(exitCode: number | null): boolean {
  return asking.some((signal) => exitCode === exitCodeOf(signal));
}

/** A wish that the program ends. */
export interface Interruption {
  readonly signal: AbortSignal;
  /** What the program then returns. */
  exitCode(): number;
  /** Leaves signals to others again. */
  release(): void;
}

/**
 * Listens for SIGINT and SIGTERM.
 *
 * @param again is called for every one but the first, with the milliseconds since that
 */
export function interruption(
  onFirst: () => void = () => {},
  again: (signal: NodeJS.Signals, after: number) => void = () => {},
): Interruption {
  const controller = new AbortController();
  let first: { signal: NodeJS.Signals; time: number } | null = null;
  const stop = (signal: NodeJS.Signals) => {
    if (first) return again(signal, Date.now() - first.time);
    first = { signal, time: Date.now() };
    onFirst();
    controller.abort();
  };
  for (const signal of asking) process.on(signal, stop);
  return {
    signal: controller.signal,
    // Of processes that train together, those that were told by another got no signal.
    exitCode: () => exitCodeOf(first?.signal ?? 'SIGINT'),
    release: () => {
      for (const signal of asking) process.off(signal, stop);
    },
  };
}
