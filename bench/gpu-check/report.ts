import { writeFileAtomic } from '../../lib/io/atomic-file.js';

/**
 * What became of a section. Figures are `measured`, or `incomplete` where some are missing, which is no failure of the
 * device's. Where one stays `not run` or `running`, the run was cut short.
 */
export type Status = 'not run' | 'running' | 'passed' | 'FAILED' | 'measured' | 'incomplete' | 'skipped';

/** A part of the report. */
export interface Section {
  title: string;
  status: Status;
  /** A line for the table at the top. */
  summary: string;
  /** Markdown. */
  body: string;
}

/** The report, rewritten as a whole whenever something is known: what a crash leaves behind can be read. */
export class Report {
  private readonly sections: Section[];
  private written: Promise<void> = Promise.resolve();

  /**
   * @param path file
   * @param head Markdown behind the title
   * @param titles of all sections to come, in their order
   */
  constructor(
    private readonly path: string,
    private readonly head: string,
    titles: readonly string[],
  ) {
    this.sections = titles.map((title) => ({ title, status: 'not run', summary: '', body: '' }));
  }

  /** Sets what is known of a section, and writes the file: one time behind the other, so that the last one stays. */
  set(title: string, known: Partial<Omit<Section, 'title'>>): Promise<void> {
    const section = this.sections.find((one) => one.title === title);
    if (!section) throw new Error(`the report has no section "${title}"`);
    Object.assign(section, known);
    this.written = this.written.then(() => writeFileAtomic(this.path, renderReport(this.head, this.sections)));
    return this.written;
  }

  get failed(): boolean {
    return this.sections.some(({ status }) => status === 'FAILED');
  }

  /** The table at the top, as lines of text. */
  get summary(): string {
    const width = Math.max(...this.sections.map(({ title }) => title.length));
    return this.sections
      .map(({ title, status, summary }) => `${status.padEnd(10)}  ${title.padEnd(width)}  ${summary}`.trimEnd())
      .join('\n');
  }
}

/** The whole report. */
export function renderReport(head: string, sections: readonly Section[]): string {
  const failed = sections.some(({ status }) => status === 'FAILED');
  const open = sections.some(({ status }) => status === 'running' || status === 'not run');
  const passed = sections.some(({ status }) => status === 'passed');
  const result = failed ? 'FAILED' : open ? 'not finished' : passed ? 'passed' : 'nothing checked';
  const table = markdownTable(
    ['section', 'result', ''],
    sections.map(({ title, status, summary }) => [title, status, summary]),
  );
  const bodies = sections
    .filter(({ body }) => body !== '')
    .map(({ title, status, body }) => `## ${title}: ${status}\n\n${body.trimEnd()}\n`);
  return `# GPU check: ${result}\n\n${head.trimEnd()}\n\n${table}\n${bodies.map((body) => `\n${body}`).join('')}`;
}

/** Stands above figures of tiny sizes. */
export const meaningless = '**Tiny sizes: these figures mean nothing.**\n\n';

/** A table in Markdown. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |\n`;
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('');
}

/** Text as it is, in Markdown. */
export function verbatim(text: string): string {
  // A fence that the text doesn't have.
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}\n${text.trimEnd()}\n${fence}\n`;
}
