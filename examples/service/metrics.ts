/** Prometheus metrics: the process', every request, the model's queue. */
import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { InferenceModel } from '../../lib/index.js';

/** Counts and times an app's requests from now on. */
export function observe(app: FastifyInstance, model: InferenceModel): Registry {
  const registers = [new Registry()] as const;
  collectDefaultMetrics({ register: registers[0] });
  const seconds = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from a request to the end of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [...registers],
  });
  new Gauge({
    name: 'model_queued_samples',
    help: 'Samples that are accepted and not answered yet',
    registers: [...registers],
    collect() {
      this.set(model.queued);
    },
  });
  app.addHook('onResponse', async (request, reply) => {
    // The route's pattern, not the URL: strangers must not make labels.
    const { url: route = 'unknown' } = request.routeOptions;
    seconds.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
  return registers[0];
}
