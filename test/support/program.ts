import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const library = new URL('../../lib/index.ts', import.meta.url).href;

/** How a program ended, and what it wrote. */
export interface Ended {
  code: number | null;
  signal: string | null;
  output: string;
}

/** Runs a program of its own, with everything of the library in scope as `kn`. Killed after a while, if it doesn't end. */
export function program(code: string, env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const source = `import * as kn from '${library}';\n${code}`;
  const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', source], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ...env },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (exit, signal) => resolve({ code: exit, signal, output }));
  });
}
