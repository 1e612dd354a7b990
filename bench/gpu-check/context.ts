import type { GpuCheckArguments } from './arguments.js';
import type { Report } from './report.js';

/** What the parts of the check share. */
export interface CheckContext {
  options: GpuCheckArguments;
  report: Report;
  /** Folder for files that pass between processes. */
  work: string;
  /** Says what is going on. */
  say(line: string): void;
}
