/** Types of the parts of setup.mjs that tests use. */

export interface LockEntry {
  version?: string;
  resolved?: string;
  integrity?: string;
  optional?: boolean;
  devOptional?: boolean;
  optionalDependencies?: Record<string, string>;
  os?: string[];
  cpu?: string[];
}

export interface LockFile {
  packages: Record<string, LockEntry>;
}

export function nodeProblem(version: string): string | null;
export function npmReason(
  lock: LockFile,
  installed: LockFile | null,
  machine: { platform: string; arch: string; exists(path: string): boolean },
): string | null;
