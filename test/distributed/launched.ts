import { spawn } from 'node:child_process';

/** Runs a program to its end, under the test's time-out. */
export function runNode(
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The lines of JSON that processes of a launcher printed. */
export function linesOf(output: string): unknown[] {
  return [...output.matchAll(/^\[\d\] (\{.*)$/gm)].map(([, line]) => JSON.parse(line as string));
}
