import { once } from 'node:events';
import { Agent, request } from 'node:http';
import test from 'ava';
import { SHAPE, SIZE, startService } from '../support/service.js';

/** As many callers at once; `KN_TEST_CONNECTIONS=10000` for what a service must survive. */
const CONNECTIONS = Number(process.env.KN_TEST_CONNECTIONS ?? 500);

/** How a call ended: its status where the whole answer came, `cut` where a part did, `none` where nothing did. */
type Outcome = number | 'cut' | 'none';

/** Calls on a connection of its own; never rejects. */
function call(url: string, agent: Agent, body: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const sent = request(`${url}/predict`, { method: 'POST', agent, headers }, async (answer) => {
      let text = '';
      try {
        for await (const chunk of answer) text += chunk;
        JSON.parse(text);
        resolve(answer.statusCode as number);
      } catch {
        resolve('cut');
      }
    });
    sent.on('error', () => resolve('none'));
    sent.end(body);
  });
}

test(`SIGTERM with ${CONNECTIONS} callers at once: each request that was accepted has got its whole answer`, async (t) => {
  t.timeout(540_000);
  const { server, lines, ended, url, finished } = await startService(t, {
    MAX_QUEUE: '4000',
    MAX_BATCH: '64',
    TIMEOUT_MS: '300000',
    STOP_WITHIN_MS: '300000',
  });
  const body = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0.5) });
  const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
  const incoming = () => lines.filter(({ msg }) => msg === 'incoming request').length;
  const calls = Array.from({ length: CONNECTIONS }, () => call(url, agent, body));
  // In the middle: some have their answers, some wait for them, some aren't taken up yet.
  while (finished(200) === 0 || incoming() < CONNECTIONS / 2) await new Promise((resolve) => setTimeout(resolve, 5));
  server.kill('SIGTERM');
  const outcomes = await Promise.all(calls);
  t.is(await ended, 0);
  const count = (outcome: Outcome) => outcomes.filter((each) => each === outcome).length;
  const accepted = incoming();
  t.log({ accepted, 200: count(200), 503: count(503), 'not taken up': count('none') });
  t.is(count('cut'), 0);
  t.is(finished(200) + finished(503), accepted, 'each one that came in was answered');
  t.is(count(200), finished(200), 'and its answer arrived');
  // Fastify's own 503, for a request on a connection that was taken up as it closes, isn't in the log.
  t.true(count(503) >= finished(503));
  t.is(count(200) + count(503) + count('none'), CONNECTIONS, 'there are no other ends');
  t.regex(lines.at(-1)!.msg, /^stopped/);
});

test(`${CONNECTIONS} callers at once that all hang up, and the service goes on`, async (t) => {
  t.timeout(540_000);
  const { server, url, ended } = await startService(t, { MAX_QUEUE: '4000', MAX_BATCH: '64', TIMEOUT_MS: '300000' });
  const body = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0.5) });
  const callers = Array.from({ length: CONNECTIONS }, () => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const sent = request(`${url}/predict`, { method: 'POST', agent: false, headers });
    sent.on('error', () => {});
    sent.end(body);
    return sent;
  });
  await once(callers[0]!, 'socket');
  for (const caller of callers) caller.destroy();
  const queued = async () => /^model_queued_samples (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1];
  const deadline = Date.now() + 60_000;
  while ((await queued()) !== '0') t.true(Date.now() < deadline, 'the queue is empty');
  const answer = await fetch(`${url}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  t.is(answer.status, 200);
  server.kill('SIGTERM');
  t.is(await ended, 0);
});
