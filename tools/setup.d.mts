/** Types of the parts of setup.mjs that tests use. */

export interface SystemProbes {
  isRoot(): boolean;
  hasApt(): boolean;
  hasCommand(name: string): boolean;
  exists(path: string): boolean;
  gxxVersion(): number | null;
  canInclude(header: string): boolean;
}

export interface SystemPlan {
  action: 'none' | 'install' | 'tell';
  missing: string[];
  commands: string[][];
  message: string;
}

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

export const ROOT: string;

export class SetupError extends Error {
  constructor(message: string, exitCode?: number);
  readonly exitCode: number;
}

export function nodeProblem(version: string): string | null;
export function planSystemPackages(
  probes: SystemProbes,
  options?: { needData?: boolean; needFonts?: boolean; needChecks?: boolean },
): SystemPlan;
export function npmReason(
  lock: LockFile,
  installed: LockFile | null,
  machine: { platform: string; arch: string; exists(path: string): boolean },
): string | null;
export function buildReason(
  builtAt: number | null,
  sources: readonly { path: string; modifiedAt: number }[],
): string | null;
export function systemProbes(): SystemProbes;
export function run(
  command: string,
  args: readonly string[],
  options?: { env?: Record<string, string>; quiet?: boolean },
): Promise<number>;
