import { readFile } from 'node:fs/promises';
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
  /** Figures, as the program that measured them wrote them. */
  data?: unknown;
}

/** What a report is about: only what is about the same can be gone on with. */
export interface Subject {
  commit: string;
  device: string;
  small: boolean;
}

/** The report, rewritten as a whole whenever something is known: what a crash leaves behind can be read. */
export class Report {
  private readonly sections: Section[];
  private written: Promise<void> = Promise.resolve();

  /**
   * @param path of the page, NAME.md; NAME.json has the same for programs
   * @param head Markdown behind the title
   * @param titles of all sections to come, in their order
   * @param earlier sections of a run before, of which those are kept that needn't be repeated
   */
  constructor(
    private readonly path: string,
    private readonly head: string,
    titles: readonly string[],
    private readonly subject: Subject,
    earlier: readonly Section[] = [],
  ) {
    this.sections = titles.map(
      (title) =>
        earlier.find((one) => one.title === title && isDone(one.status)) ?? {
          title,
          status: 'not run',
          summary: '',
          body: '',
        },
    );
  }

  /** Whether all sections with these titles are known. */
  has(titles: readonly string[]): boolean {
    return this.sections.every(({ title, status }) => !titles.includes(title) || isDone(status));
  }

  /** Says of what was begun that there was no time for its end. */
  async interrupt(summary: string): Promise<void> {
    for (const { title, status } of this.sections) {
      if (status === 'running' || status === 'not run') await this.set(title, { status: 'not run', summary });
    }
  }

  /** Sets what is known of a section, and writes the file: one time behind the other, so that the last one stays. */
  set(title: string, known: Partial<Omit<Section, 'title'>>): Promise<void> {
    const section = this.sections.find((one) => one.title === title);
    if (!section) throw new Error(`the report has no section "${title}"`);
    Object.assign(section, known);
    this.written = this.written.then(async () => {
      const { head, subject, sections } = this;
      await writeFileAtomic(jsonPath(this.path), `${JSON.stringify({ subject, head, sections }, null, 2)}\n`);
      await writeFileAtomic(this.path, renderReport(head, sections));
    });
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

function isDone(status: Status): boolean {
  return status === 'passed' || status === 'measured' || status === 'skipped';
}

function jsonPath(path: string): string {
  return path.replace(/\.md$/, '.json');
}

/** The sections of an earlier report about the same; none where there is no such report. */
export async function readEarlier(path: string, subject: Subject): Promise<Section[]> {
  const text = await readFile(jsonPath(path), 'utf8').catch(() => null);
  if (text === null) return [];
  const earlier = JSON.parse(text) as { subject: Subject; sections: Section[] };
  const { commit, device, small } = earlier.subject;
  const same = commit === subject.commit && device === subject.device && small === subject.small;
  return same ? earlier.sections : [];
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
