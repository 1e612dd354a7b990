/** The service as a Fastify app: routes, limits, errors, metrics. server.ts listens. */
import multipart from '@fastify/multipart';
import rateLimit from '@fastify/rate-limit';
import underPressure from '@fastify/under-pressure';
import { type FastifyBaseLogger, type FastifyInstance, fastify } from 'fastify';
// In a project of yours: from 'kalman-norm'.
import type { InferenceModel } from '../../lib/index.js';
import { answerTo, hungUp, overloaded, tooLate } from './errors.js';
import { observe } from './metrics.js';
import { servePage } from './page.js';
import { IMAGE_TYPES, readSample, tensorSchema } from './sample.js';

/** What the service serves, and its limits. The model has limits of its own: see `loadModel`. */
export interface ServiceOptions {
  /** Answers; the caller disposes it, after the app is closed. */
  readonly model: InferenceModel;
  /** Default: none. */
  readonly logger?: FastifyBaseLogger;
  /** Most bytes of a picture, a form or a tensor. Default: 8 MiB */
  readonly maxBody?: number;
  /** Most predictions of an address in a minute; more get 429. Default: 600 */
  readonly requestsPerMinute?: number;
  /** Milliseconds that a request may take to arrive, and then to be answered, else it gets 503. Default: 10,000 */
  readonly timeout?: number;
  /** Milliseconds that the event loop may be late, on average; predictions get 503 beyond. Default: 1000 */
  readonly maxEventLoopDelay?: number;
  /** Most bytes of memory of the process; predictions get 503 beyond. Default: no limit */
  readonly maxMemory?: number;
  /** Whether the addresses that a proxy in front names are believed; else all its clients are one. Default: no */
  readonly trustProxy?: boolean;
  /** Says no once the service is about to stop: `/readyz` answers 503, and connections end with their next answer. */
  readonly isReady?: () => boolean;
}

/** The app, with all of its routes; `listen` and `close` are the caller's. */
export async function buildService({
  model,
  logger,
  maxBody = 8 * 2 ** 20,
  requestsPerMinute = 600,
  timeout = 10_000,
  maxEventLoopDelay = 1000,
  maxMemory = 0,
  trustProxy = false,
  isReady = () => true,
}: ServiceOptions): Promise<FastifyInstance> {
  const app: FastifyInstance = fastify({
    ...(logger && { loggerInstance: logger }),
    bodyLimit: maxBody,
    trustProxy,
    genReqId: () => crypto.randomUUID(),
    // Slow senders: headers, then the whole request.
    http: { headersTimeout: timeout, connectionsCheckingInterval: 1000 },
    requestTimeout: timeout,
    // JSON has types: "1" is no number. Query strings don't, and have patterns.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  app.setErrorHandler((error, request, reply) => {
    const { status, ...answer } = answerTo(error, request.id);
    // The log of requests has the others' status.
    if (status === 500) request.log.error(error);
    if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', 1);
    return reply.code(status).send(answer);
  });
  app.setNotFoundHandler((_request, reply) =>
    reply.code(404).send({ code: 'NOT_FOUND', message: 'there is no such page' }),
  );
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff');
    if (!isReady()) reply.header('connection', 'close');
  });

  const metrics = observe(app, model);
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()));
  // Alive: the event loop turns. It says nothing of load, lest a busy service be restarted.
  app.get('/healthz', async () => ({ status: 'ok' }));
  await servePage(app);

  // What may be refused under load has a scope of its own: the hooks of its plugins are not for the routes above.
  await app.register(async (scope) => {
    await scope.register(underPressure, { maxEventLoopDelay, maxRssBytes: maxMemory, retryAfter: 1 });
    await scope.register(rateLimit, { global: false });
    await scope.register(multipart, { limits: { fileSize: maxBody, files: 1, parts: 1, fields: 0 } });
    scope.removeContentTypeParser('text/plain');
    scope.addContentTypeParser(IMAGE_TYPES, { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => body);

    scope.get('/readyz', async (_request, reply) =>
      isReady() ? { status: 'ok' } : reply.code(503).send({ code: 'STOPPING', message: 'the service is stopping' }),
    );

    const { input } = model.info;
    scope.post<{ Querystring: { top?: string } }>(
      '/predict',
      {
        config: { rateLimit: { max: requestsPerMinute, timeWindow: 60_000 } },
        // Before the body is read: a refusal must cost less than an answer.
        onRequest: async () => {
          if (model.queued >= model.maxQueue) throw overloaded;
        },
        schema: {
          querystring: {
            type: 'object',
            properties: { top: { type: 'string', pattern: '^[1-9][0-9]{0,4}$' } },
            additionalProperties: false,
          },
          body: { content: { 'application/json': { schema: tensorSchema(input!) } } },
          response: { 200: classesSchema },
        },
      },
      async (request, reply) => {
        const topK = Math.min(Number(request.query.top ?? 5), model.outputs);
        const sample = await readSample(request);
        // Fastify's `handlerTimeout` and `request.signal` take a body's end for the caller's (fastify#6725).
        const patience = new AbortController();
        const timer = setTimeout(() => patience.abort(tooLate), timeout);
        reply.raw.once('close', () => patience.abort(hungUp));
        try {
          return { classes: await model.classify(sample, { topK, signal: patience.signal }) };
        } catch (error) {
          throw patience.signal.aborted ? patience.signal.reason : error;
        } finally {
          clearTimeout(timer);
        }
      },
    );
  });
  return app;
}

const classesSchema = {
  type: 'object',
  properties: {
    classes: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          index: { type: 'integer' },
          name: { type: ['string', 'null'] },
          probability: { type: 'number' },
        },
      },
    },
  },
};
