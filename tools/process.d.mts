/** Types of the parts of process.mjs that tests use. */

export const ROOT: string;

export class SetupError extends Error {
  constructor(message: string, exitCode?: number);
  readonly exitCode: number;
}

export function run(
  command: string,
  args: readonly string[],
  options?: { env?: Record<string, string>; quiet?: boolean },
): Promise<number>;
