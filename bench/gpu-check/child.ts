import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** How a child process ended. */
export interface Outcome {
  /** What it wrote to both outputs. */
  lines: string[];
  /** How it ended, where that wasn't by itself with status 0; else null. */
  problem: string | null;
  seconds: number;
}

/** The time that all of the check may take is over, before a child could end or begin. */
export class OutOfTime extends Error {}

let deadline = Number.POSITIVE_INFINITY;

/** From now on children have this time, together. */
export function startClock(minutes: number): void {
  deadline = performance.now() + minutes * 60_000;
}

/** Options of {@link runScript}. */
export interface ChildOptions {
  /** The child is ended after this time: a kernel may hang. */
  minutes: number;
  /** Added to this process's environment. */
  environment?: Readonly<Record<string, string>>;
  /** A command that runs the program's command, with its flags. */
  through?: readonly string[];
  onLine?: (line: string) => void;
}

let current: ChildProcess | null = null;

/** Ends the child that runs, and what it has started. */
export function endChild(): void {
  if (!current?.pid) return;
  try {
    process.kill(-current.pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/**
 * Runs a JavaScript or TypeScript program in the repository. What uses the device runs in a process of its own: after an
 * illegal access CUDA gives a process nothing more to do, and the rest of the report is still wanted. One at a time.
 *
 * @throws OutOfTime where the clock runs out first
 */
export async function runScript(file: string, args: readonly string[], options: ChildOptions): Promise<Outcome> {
  const { minutes, environment = {}, through = [], onLine } = options;
  const begin = performance.now();
  if (begin >= deadline) throw new OutOfTime();
  const lines: string[] = [];
  const [command = '', ...rest] = [...through, process.execPath, '--import=tsx', file, ...args];
  const child = spawn(command, rest, {
    cwd: root,
    env: { ...process.env, FORCE_COLOR: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group, so that the end of a child is also that of its children.
    detached: true,
  });
  current = child;
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) {
        lines.push(line);
        onLine?.(line);
      }
    });
    stream.on('end', () => {
      if (rest) lines.push(rest);
    });
  }
  let late = false;
  const timer = setTimeout(
    () => {
      late = true;
      endChild();
    },
    Math.min(minutes * 60_000, deadline - begin),
  );
  const { status, signal } = await new Promise<{ status: number | null; signal: string | null }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal }));
  }).finally(() => {
    clearTimeout(timer);
    current = null;
  });
  if (late && performance.now() >= deadline) throw new OutOfTime();
  const ending = signal === null ? `ended with status ${status}` : `ended by ${signal}`;
  return {
    lines,
    problem: late ? `stopped: not finished after ${minutes} minutes` : status === 0 ? null : ending,
    seconds: (performance.now() - begin) / 1000,
  };
}
