/**
 * Serves a trained network over HTTP: `MODEL=model.safetensors npx tsx examples/service/server.ts`. README.md has the
 * settings. Ends on SIGTERM once all that it accepted is answered.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
// In a project of yours: from 'kalman-norm'.
import { loadModel, openDevice } from '../../lib/index.js';
import { buildService } from './app.js';

const { MODEL, DEVICE = 'cpu', HOST = '127.0.0.1', LOG_LEVEL = 'info', TRUST_PROXY = 'no' } = process.env;

const log = pino({ level: LOG_LEVEL, redact: ['req.headers.authorization', 'req.headers.cookie'] });
try {
  if (!MODEL) throw new Error('MODEL must be the path of a model file');
  using device = openDevice(DEVICE, { threads: setting('THREADS', 0) });
  await using model = await loadModel(MODEL, {
    device,
    fold: true,
    maxBatch: setting('MAX_BATCH', 16),
    maxDelay: setting('MAX_DELAY_MS', 0),
    maxQueue: setting('MAX_QUEUE', 256),
    maxPixels: setting('MAX_PIXELS', 2 ** 25),
  });
  let stopping = false;
  const app = await buildService({
    model,
    logger: log,
    maxBody: setting('MAX_BODY_BYTES', 8 * 2 ** 20),
    requestsPerMinute: setting('REQUESTS_PER_MINUTE', 600),
    timeout: setting('TIMEOUT_MS', 10_000),
    maxMemory: setting('MAX_MEMORY_BYTES', 0),
    trustProxy: TRUST_PROXY === 'yes',
    isReady: () => !stopping,
  });
  await app.listen({ host: HOST, port: setting('PORT', 3000) });

  const signal = await new Promise<string>((resolve) => {
    // Kept, so that a second signal doesn't end the process before its work is done.
    for (const name of ['SIGTERM', 'SIGINT']) process.on(name, resolve);
  });
  stopping = true;
  log.info(`${signal}: stopping`);
  const patience = setting('STOP_WITHIN_MS', 30_000);
  setTimeout(() => {
    log.error(`not stopped after ${patience} ms: ending with ${model.queued} samples unanswered`);
    process.exit(1);
  }, patience).unref();
  // Those who watch /readyz send no more by then.
  await sleep(setting('DRAIN_MS', 0));
  await app.close();
  log.info('stopped: all that was accepted is answered');
} catch (error) {
  log.fatal(error);
  process.exitCode = 1;
}

/** A number of the environment. */
function setting(name: string, initial: number): number {
  const text = process.env[name] ?? '';
  if (text === '') return initial;
  if (!/^\d{1,15}$/.test(text)) throw new Error(`${name} must be a whole number, got ${JSON.stringify(text)}`);
  return Number(text);
}
