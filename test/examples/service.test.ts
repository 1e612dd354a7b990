import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import type { FastifyInstance } from 'fastify';
import sharp from 'sharp';
import { type Classification, loadModel } from '../../lib/index.js';
import { SEED, TestRandom } from '../support/random.js';
import { device, file, folder, listening, noise, SHAPE, SIZE, service, startService } from '../support/service.js';

const post = (app: FastifyInstance, payload: Buffer | string, type = 'image/png', query = '') =>
  app.inject({ method: 'POST', url: `/predict${query}`, headers: { 'content-type': type }, payload });

/** A form as browsers send it. */
function form(parts: readonly [disposition: string, content: Buffer | string][], end = '--BOUNDARY--\r\n') {
  const chunks = parts.flatMap(([disposition, content]) => [
    `--BOUNDARY\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n`,
    content,
    '\r\n',
  ]);
  return Buffer.concat([...chunks, end].map((chunk) => Buffer.from(chunk)));
}
const FORM = 'multipart/form-data; boundary=BOUNDARY';

test("predictions are the library's own: as body, as a form, as a tensor", async (t) => {
  const random = new TestRandom(t.title);
  const { app, model } = await service(t);
  const image = noise(random);
  for (const format of ['png', 'jpeg', 'webp'] as const) {
    const bytes = await image.clone().toFormat(format).toBuffer();
    const classes = await model.classify(bytes);
    t.is(classes.length, 5);
    for (const answer of [
      await post(app, bytes, `image/${format}`),
      await post(app, bytes, 'application/octet-stream'),
      await post(app, form([['name="picture"; filename="a"', bytes]]), FORM),
    ]) {
      t.is(answer.statusCode, 200, answer.body);
      t.deepEqual(answer.json(), { classes });
    }
    t.deepEqual((await post(app, bytes, `image/${format}`, '?top=2')).json(), { classes: classes.slice(0, 2) });
    t.is((await post(app, bytes, `image/${format}`, '?top=99')).json().classes.length, 7, 'there are no more');
  }
  const values = Float32Array.from(random.normals(SHAPE).data);
  const answer = await post(app, JSON.stringify({ shape: SHAPE, data: [...values] }), 'application/json');
  t.deepEqual(answer.json(), { classes: await model.classify(values) });
});

test("requests that can't be answered are told why, and nothing else", async (t) => {
  const random = new TestRandom(t.title);
  const { app, model } = await service(t, { maxPixels: 10_000 }, { maxBody: 40_000 });
  const png = await noise(random).png().toBuffer();
  const jpeg = await noise(random).jpeg().toBuffer();
  const tensor = (change: object) => JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0), ...change });
  const zeroSized = Buffer.from(png);
  zeroSized.writeUInt32BE(0, 16);
  // 25 million black pixels in 25 kB.
  const bomb = await sharp({ create: { width: 5000, height: 5000, channels: 3, background: '#000' } })
    .toColourspace('b-w')
    .png({ compressionLevel: 9 })
    .toBuffer();
  t.true(bomb.length < 40_000);
  const json = 'application/json';
  const picture = 'name="picture"; filename="a.png"';
  const cases: [title: string, payload: Buffer | string, type: string, status: number, message: RegExp][] = [
    ['a PNG cut short', png.subarray(0, png.length >> 1), 'image/png', 400, /damaged or cut short/],
    ['a JPEG cut short', jpeg.subarray(0, jpeg.length >> 1), 'image/jpeg', 400, /damaged or cut short/],
    ['a width of zero', zeroSized, 'image/png', 400, /damaged or cut short/],
    ['a decompression bomb', bomb, 'image/png', 413, /too many pixels/],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), 'image/png', 400, /JPEG, PNG or WebP/],
    ['SVG by its type', '<svg/>', 'image/svg+xml', 415, /media type/i],
    ['text', 'a cat', 'text/plain', 415, /media type/i],
    ['nothing', Buffer.alloc(0), 'image/png', 400, /empty/],
    ['too large', Buffer.alloc(40_001), 'image/png', 413, /too large/i],
    ['a form without a file', form([['name="a"', 'b']]), FORM, 400, /one file and nothing else/],
    ['a form with no part', form([]), FORM, 400, /no file/],
    ['a form with an empty file', form([[picture, '']]), FORM, 400, /empty/],
    [
      'a form with two files',
      form([
        [picture, png],
        [picture, png],
      ]),
      FORM,
      400,
      /one file and nothing else/,
    ],
    ['a form that is too large', form([[picture, Buffer.alloc(40_001)]]), FORM, 413, /too large/],
    ['a form cut short', form([[picture, png]], ''), FORM, 400, /damaged or cut short/],
    ['a form without boundary', 'a', 'multipart/form-data', 400, /damaged or cut short/],
    ['no JSON', '{"shape":', json, 400, /not valid JSON/],
    ['no tensor', '[]', json, 400, /must be object/],
    ['a prototype', '{"__proto__":{}}', json, 400, /not valid JSON|forbidden/i],
    ['another shape', tensor({ shape: [3, 16, 17] }), json, 400, /shape/],
    ['too few values', tensor({ data: [1, 2] }), json, 400, /data must NOT have fewer than 768 items/],
    ['too many values', tensor({ data: Array(SIZE + 1).fill(0) }), json, 400, /data must NOT have more than 768/],
    ['texts for values', tensor({ data: Array(SIZE).fill('1') }), json, 400, /data\/0 must be number/],
    ['infinity', tensor({}).replace('0', '1e999'), json, 400, /must be number/],
    ['too large for float32', tensor({}).replaceAll(/\b0\b/g, '1e200'), json, 400, /finite/],
    ["what isn't asked for", tensor({ path: '/etc/passwd' }), json, 400, /additional properties/],
  ];
  for (const [title, payload, type, status, message] of cases) {
    const answer = await post(app, payload, type);
    t.is(answer.statusCode, status, `${title}: ${answer.body}`);
    const body = answer.json();
    t.deepEqual(Object.keys(body), ['code', 'message'], title);
    t.regex(body.message, message, title);
    t.notRegex(answer.body, /node_modules|\.ts|\.safetensors|vips|predict:/i, title);
  }
  t.is((await post(app, png, 'image/png', '?top=0')).statusCode, 400);
  t.is((await post(app, png, 'image/png', '?model=/etc/passwd')).statusCode, 400);
  t.is((await app.inject({ method: 'POST', url: '/predict' })).statusCode, 400);
  t.is((await app.inject('/predict')).statusCode, 404);
  t.is((await app.inject('/../../etc/passwd')).statusCode, 404);
  t.is((await app.inject('/%zz')).statusCode, 400);
  t.is(model.queued, 0);
  t.is((await post(app, png)).statusCode, 200, 'none of it did harm');
});

test('an error that nobody foresaw is for the log alone', async (t) => {
  const { app, model } = await service(t);
  await model.dispose();
  const values = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0) });
  const answer = await post(app, values, 'application/json');
  t.is(answer.statusCode, 500);
  t.regex(answer.json().message, /^something went wrong; the log has it under [0-9a-f-]{36}$/);
});

test('under overload some get 503, and every request that was accepted gets its answer', async (t) => {
  const random = new TestRandom(t.title);
  // The first batch waits for more samples than may wait, so that the others find the queue full.
  const { app, model } = await service(t, { maxBatch: 16, maxQueue: 8, maxDelay: 500 });
  const samples = Array.from({ length: 40 }, () => Float32Array.from(random.normals(SHAPE).data));
  const answers = await Promise.all(
    samples.map((sample) => post(app, JSON.stringify({ shape: SHAPE, data: [...sample] }), 'application/json')),
  );
  let accepted = 0;
  for (const [i, answer] of answers.entries()) {
    if (answer.statusCode === 200) {
      accepted++;
      const [best] = await model.classify(samples[i]!);
      const [mine] = answer.json().classes as Classification[];
      // In a batch of another size sums may be taken in another order.
      t.is(mine!.name, best!.name);
      t.true(Math.abs(mine!.probability - best!.probability) < 1e-6);
    } else {
      t.is(answer.statusCode, 503);
      t.is(answer.json().code, 'OVERLOADED');
      t.is(answer.headers['retry-after'], '1');
    }
  }
  t.true(accepted >= 8 && accepted < 40, `${accepted} of 40`);
  const metrics = (await app.inject('/metrics')).body;
  const count = (status: number) =>
    Number(new RegExp(`_count{method="POST",route="/predict",status="${status}"} (\\d+)`).exec(metrics)?.[1]);
  t.is(count(200), accepted);
  t.is(count(503), 40 - accepted);
  t.regex(metrics, /^model_queued_samples 0$/m);
});

test('who asks too often gets 429; health and metrics are never refused', async (t) => {
  const { app } = await service(t, {}, { requestsPerMinute: 2 });
  const tensor = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0) });
  const statuses = [];
  for (let i = 0; i < 4; i++) statuses.push((await post(app, tensor, 'application/json')).statusCode);
  t.deepEqual(statuses, [200, 200, 429, 429]);
  const refused = await post(app, tensor, 'application/json');
  t.true(Number(refused.headers['retry-after']) > 0);
  t.deepEqual(Object.keys(refused.json()), ['code', 'message']);
  for (const url of ['/healthz', '/readyz', '/metrics']) t.is((await app.inject(url)).statusCode, 200);
});

test('under memory pressure predictions get 503, the process stays healthy', async (t) => {
  const { app } = await service(t, {}, { maxMemory: 1 });
  // The first measurement comes after a second.
  const deadline = Date.now() + 20_000;
  while ((await app.inject('/readyz')).statusCode === 200 && Date.now() < deadline) await wait(100);
  const answer = await post(app, Buffer.alloc(10));
  t.is(answer.statusCode, 503, answer.body);
  t.is(answer.json().code, 'FST_UNDER_PRESSURE');
  t.is((await app.inject('/healthz')).statusCode, 200);
  t.is((await app.inject('/metrics')).statusCode, 200);
});

test('a request that takes too long gets 503 and leaves the queue', async (t) => {
  const { url, model } = await listening(t, { maxBatch: 2, maxDelay: 60_000 }, { timeout: 4000 });
  const tensor = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0) });
  const answer = await fetch(`${url}/predict`, { ...body, body: tensor });
  t.is(answer.status, 503);
  t.is(((await answer.json()) as { code: string }).code, 'TIMEOUT');
  t.is(model.queued, 0);
});

test("before it stops, the service isn't ready, and ends connections with its answers", async (t) => {
  let ready = true;
  const { app } = await service(t, {}, { isReady: () => ready });
  t.is((await app.inject('/readyz')).statusCode, 200);
  ready = false;
  t.is((await app.inject('/readyz')).statusCode, 503);
  const alive = await app.inject('/healthz');
  t.is(alive.statusCode, 200);
  t.is(alive.headers.connection, 'close');
});

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What comes back on a connection for some bytes, until it is closed or nothing more comes for so many milliseconds. */
async function exchange(port: number, bytes: Buffer, patience: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  socket.setTimeout(patience, () => socket.destroy());
  socket.write(bytes);
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

test("malformed HTTP doesn't end the service", async (t) => {
  const random = new TestRandom(t.title);
  t.log(`seed ${SEED}`);
  const { url, port } = await listening(t);
  const start = 'POST /predict HTTP/1.1\r\nHost: a\r\n';
  const cases: [request: Buffer, answer: RegExp][] = [
    [Buffer.from('\x16\x03\x01\x02\x00\x01\x00'), /^HTTP\/1\.1 400/],
    [Buffer.from('GET\r\n\r\n'), /^HTTP\/1\.1 400/],
    [Buffer.from('GET / HTTP/9.9\r\n\r\n'), /^HTTP\/1\.1 400/],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400/],
    [Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`), /^HTTP\/1\.1 431/],
    [Buffer.from(`${start}Content-Length: -1\r\n\r\n`), /^HTTP\/1\.1 400/],
    [Buffer.from(`${start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`), /^HTTP\/1\.1 400/],
    [Buffer.from(`${start}Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`), /^HTTP\/1\.1 400/],
    [Buffer.from(`${start}Content-Type: image/png\r\nContent-Length: 99\r\n\r\nshort`), /^$/],
    [Buffer.from(`${start}Content-Type: ${FORM}\r\nContent-Length: 99\r\n\r\n--BOUNDARY\r\n`), /^$/],
    [Buffer.from(`${start}Connection: close\r\nContent-Type: \0\r\nContent-Length: 1\r\n\r\na`), /^HTTP\/1\.1 4/],
    [Buffer.from(`${start}Connection: close\r\nContent-Type: image\r\nContent-Length: 1\r\n\r\na`), /^HTTP\/1\.1 415/],
  ];
  for (let i = 0; i < 40; i++) {
    const bytes = Buffer.from(
      `${start}Content-Type: ${FORM}\r\nContent-Length: 60\r\n\r\n${form([['name="a"', 'b']])}`,
    );
    for (let k = 0; k < 4; k++) bytes[random.below(bytes.length)] = random.below(256);
    cases.push([bytes, /^(HTTP\/1\.1 [45]|$)/]);
  }
  await Promise.all(
    cases.map(async ([request, answer]) => {
      // Those that may be waited for in vain, for the rest of the request, aren't waited for long.
      const text = await exchange(port, request, answer.test('') ? 500 : 20_000);
      t.regex(text, answer, request.subarray(0, 200).toString('latin1'));
      t.notRegex(text, /^HTTP\/1\.1 500/, request.toString('latin1'));
    }),
  );
  t.is((await fetch(`${url}/healthz`)).status, 200);
});

test('who sends too slowly is hung up on', async (t) => {
  const { url, port } = await listening(t, {}, { timeout: 500 });
  const start = 'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n';
  const requests = [start, `${start}Content-Length: 9\r\n\r\nslow`].map((text) => Buffer.from(text));
  for (const text of await Promise.all(requests.map((request) => exchange(port, request, 20_000)))) {
    t.regex(text, /^HTTP\/1\.1 408/);
  }
  t.is((await fetch(`${url}/healthz`)).status, 200);
});

test('who hangs up leaves the queue', async (t) => {
  const { model, port } = await listening(t, { maxBatch: 2, maxDelay: 60_000 });
  const tensor = JSON.stringify({ shape: SHAPE, data: Array(SIZE).fill(0) });
  const socket = connect(port, '127.0.0.1');
  socket.write(
    `POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${tensor.length}\r\n\r\n`,
  );
  socket.write(tensor);
  const deadline = Date.now() + 20_000;
  while (model.queued === 0 && Date.now() < deadline) await wait(5);
  t.is(model.queued, 1);
  socket.destroy();
  while (model.queued > 0 && Date.now() < deadline) await wait(5);
  t.is(model.queued, 0);
});

const body = { method: 'POST', headers: { 'content-type': 'application/json', connection: 'close' } };

test('SIGTERM: what waits in the queue is answered before the process ends', async (t) => {
  // They wait for a batch of 100, so that the signal finds them in the queue, on a busy machine too.
  const settings = { MAX_BATCH: '100', MAX_DELAY_MS: '15000', TIMEOUT_MS: '60000' };
  const { server, ended, url, lines } = await startService(t, settings);
  const random = new TestRandom(t.title);
  const samples = Array.from({ length: 12 }, () => Float32Array.from(random.normals(SHAPE).data));
  const calls = samples.map(async (sample) => {
    const answer = await fetch(`${url}/predict`, {
      ...body,
      body: JSON.stringify({ shape: SHAPE, data: [...sample] }),
    });
    return { status: answer.status, ...((await answer.json()) as { classes: Classification[] }) };
  });
  const deadline = Date.now() + 20_000;
  const allWait = async () => /^model_queued_samples 12$/m.test(await (await fetch(`${url}/metrics`)).text());
  while (!(await allWait())) t.true(Date.now() < deadline, 'all of them wait');
  server.kill('SIGTERM');
  server.kill('SIGTERM');
  const answers = await Promise.all(calls);
  t.is(await ended, 0);
  t.regex(lines.at(-1)!.msg, /^stopped/);
  const model = await loadModel(file, { device });
  for (const [i, { status, classes }] of answers.entries()) {
    t.is(status, 200);
    const [best] = await model.classify(samples[i]!);
    t.is(classes[0]!.name, best!.name);
    t.true(Math.abs(classes[0]!.probability - best!.probability) < 1e-6);
  }
  await model.dispose();
});

test('SIGTERM under load: each request that was accepted has got its whole answer', async (t) => {
  const { server, lines, ended, url, finished } = await startService(t, { MAX_QUEUE: '6', MAX_BATCH: '4' });
  const picture = await noise(new TestRandom(t.title), 200, 150).jpeg().toBuffer();
  const statuses = new Map<number, number>();
  let refused = 0;
  let broken = 0;
  let stopped = false;
  const client = async () => {
    while (!stopped) {
      const call = fetch(`${url}/predict`, {
        method: 'POST',
        headers: { 'content-type': 'image/jpeg', connection: 'close' },
        body: new Uint8Array(picture),
      });
      const answer = await call.catch(() => null);
      if (!answer) {
        // Nobody listens any more, or the connection was never taken up.
        refused++;
        return;
      }
      const text = await answer.text().catch(() => broken++);
      if (answer.status === 200) t.is(JSON.parse(String(text)).classes.length, 5);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    }
  };
  const clients = Array.from({ length: 16 }, client);
  const deadline = Date.now() + 20_000;
  while ((statuses.get(200) ?? 0) < 100 && Date.now() < deadline) await wait(10);
  server.kill('SIGTERM');
  t.is(await ended, 0);
  stopped = true;
  await Promise.all(clients);
  t.log(Object.fromEntries(statuses), { refused });
  t.is(broken, 0);
  const taken = lines.filter(({ msg }) => msg === 'incoming request').length;
  t.is(finished(200) + finished(503), taken, 'each one that came in was answered');
  t.is(statuses.get(200), finished(200), 'and its answer arrived');
  t.deepEqual(
    [...statuses.keys()].filter((status) => status !== 200 && status !== 503),
    [],
  );
  t.regex(lines.at(-1)!.msg, /^stopped/);
});

test("a service that can't start says why and ends", async (t) => {
  for (const [env, message] of [
    [{ MODEL: '' }, /MODEL must be/],
    [{ MODEL: join(folder, 'none.safetensors') }, /none\.safetensors/],
    [{ MAX_QUEUE: 'many' }, /MAX_QUEUE must be a whole number, got "many"/],
  ] as const) {
    const { ended, lines } = await startService(t, env);
    t.is(await ended, 1);
    t.regex(lines.at(-1)!.msg, message);
  }
});
