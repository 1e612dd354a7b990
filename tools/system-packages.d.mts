/** Types of the parts of system-packages.mjs that tests use. */

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

export function planSystemPackages(
  probes: SystemProbes,
  options?: { needData?: boolean; needFonts?: boolean; needChecks?: boolean },
): SystemPlan;
export function systemProbes(): SystemProbes;
