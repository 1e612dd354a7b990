import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';

/** An answer of a worker; `error` where the command failed. */
export type Answer = Record<string, unknown> & { error?: string };

/** A child process that answers commands, a JSON object a line each way. Between commands it sleeps. */
export class Worker {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly lines: Interface;
  private readonly answers: AsyncIterator<string>;
  private errors = '';
  private readonly ended: Promise<void>;

  /** @param environment added to this process's */
  constructor(command: string, args: readonly string[], environment: Readonly<Record<string, string>>) {
    this.child = spawn(command, args, { stdio: 'pipe', env: { ...process.env, ...environment } });
    this.lines = createInterface({ input: this.child.stdout });
    this.answers = this.lines[Symbol.asyncIterator]();
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      // The end says why it died; libraries may warn without end before that.
      this.errors = (this.errors + text).slice(-2000);
    });
    // A worker that has died is noticed where its answer is missing.
    this.child.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => {
      this.child.on('close', () => resolve());
      this.child.on('error', (error) => {
        this.errors += error.message;
        this.lines.close();
        resolve();
      });
    });
  }

  /** The next line that the worker writes. @throws Error where it ends instead, with what it said last */
  async answer(): Promise<Answer> {
    const { value, done } = await this.answers.next();
    if (done) {
      await this.ended;
      throw new Error(this.errors.trim().split('\n').slice(-3).join(' ') || 'the process ended without a word');
    }
    return JSON.parse(value) as Answer;
  }

  /** Sends a command. @throws Error where it fails */
  async request(command: Readonly<Record<string, unknown>>): Promise<Answer> {
    this.child.stdin.write(`${JSON.stringify(command)}\n`);
    const answer = await this.answer();
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Ends the worker and waits for its end. */
  async close(): Promise<void> {
    this.child.stdin.end();
    await this.ended;
  }
}
