import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import type { ServerState, ServerTask } from './server.js';

/** What a turn of load showed. */
export interface Turn extends ServerState {
  /** Answers in a second. */
  readonly rate: number;
  /** Milliseconds until half, and 99 %, of the answers. */
  readonly p50: number;
  readonly p99: number;
}

/** A service in a process of its own. */
export class Server {
  private constructor(
    private readonly child: ChildProcess,
    private readonly url: string,
  ) {}

  static async start(task: ServerTask): Promise<Server> {
    const child = fork(fileURLToPath(new URL('server.ts', import.meta.url)), [JSON.stringify(task)]);
    const failed = once(child, 'exit').then(([code]) => {
      throw new Error(`a server ended with code ${code} before it was ready`);
    });
    const [url] = (await Promise.race([once(child, 'message'), failed])) as [string];
    failed.catch(() => {}); // it may end now
    return new Server(child, url);
  }

  /** How it has fared since it was last asked. */
  async state(): Promise<ServerState> {
    const answer = once(this.child, 'message');
    this.child.send('state');
    return (await answer)[0];
  }

  /**
   * Sends a picture over and over.
   *
   * @param connections that each send the next request when they have an answer
   * @throws where any answer is another than 200
   */
  async load(picture: Buffer, connections: number, seconds: number): Promise<Turn> {
    await this.state();
    const result = await autocannon({
      url: `${this.url}/predict`,
      method: 'POST',
      headers: { 'content-type': 'image/jpeg' },
      body: picture,
      connections,
      duration: seconds,
      timeout: 60,
    });
    const { errors, non2xx, latency } = result;
    if (errors + non2xx > 0) throw new Error(`${errors} requests failed, ${non2xx} weren't answered with 200`);
    return { rate: result['2xx'] / result.duration, p50: latency.p50, p99: latency.p99, ...(await this.state()) };
  }

  async stop(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}
