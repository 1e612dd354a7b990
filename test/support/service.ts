import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import type { FastifyInstance } from 'fastify';
import sharp from 'sharp';
import { buildService, type ServiceOptions } from '../../examples/service/app.js';
import {
  BatchNorm2d,
  Conv2d,
  GlobalAvgPool2d,
  type InferenceModel,
  type InferenceOptions,
  Linear,
  loadModel,
  manualSeed,
  openDevice,
  Sequential,
  saveModel,
} from '../../lib/index.js';
import type { TestRandom } from './random.js';

const SIDE = 16;
export const SHAPE = [3, SIDE, SIDE];
export const SIZE = 3 * SIDE * SIDE;
export const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-service-'));
export const device = openDevice('cpu', { threads: 1 });
/** A small network that nobody trained. */
export const file = join(folder, 'model.safetensors');
manualSeed(1);
const net = new Sequential(
  new Conv2d(device, 3, 8, 3, { padding: 'same' }),
  new BatchNorm2d(device, 8, { relu: true }),
  new GlobalAvgPool2d(),
  new Linear(device, 8, 7),
);
await saveModel(file, net.eval(), {
  classNames: ['ant', 'bee', 'cat', 'dog', 'elk', 'fox', 'gnu'],
  input: { channels: 3, height: SIDE, width: SIDE },
  normalization: { mean: [100, 120, 140], scale: 1 / 64 },
});
test.after.always(() => rm(folder, { recursive: true, force: true }));

/** Noise, so that it has details, as an encoder takes it. */
export function noise(random: TestRandom, width = 40, height = 30) {
  const raw = Uint8Array.from({ length: width * height * 3 }, () => random.below(256));
  return sharp(raw, { raw: { width, height, channels: 3 } });
}

/** A service, without a port; it ends with the test. */
export async function service(
  t: ExecutionContext,
  limits: InferenceOptions = {},
  options: Partial<ServiceOptions> = {},
): Promise<{ app: FastifyInstance; model: InferenceModel }> {
  const model = await loadModel(file, { device, ...limits });
  // A busy machine is no matter of these tests.
  const app = await buildService({ model, maxEventLoopDelay: 0, ...options });
  t.teardown(async () => {
    await app.close();
    await model.dispose();
  });
  return { app, model };
}

/** A service with a port of its own. */
export async function listening(
  t: ExecutionContext,
  limits: InferenceOptions = {},
  options: Partial<ServiceOptions> = {},
) {
  const { app, model } = await service(t, limits, options);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return { app, model, url, port: Number(new URL(url).port) };
}

/** A line of the log. */
interface Line {
  readonly msg: string;
  readonly reqId?: string;
  readonly res?: { statusCode: number };
}

/** server.ts as a process, and what it logs; killed with the test. */
export async function startService(
  t: ExecutionContext,
  env: Record<string, string>,
  args: readonly string[] = ['--import=tsx', 'examples/service/server.ts'],
  cwd = process.cwd(),
) {
  const server: ChildProcess = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, MODEL: file, PORT: '0', THREADS: '1', REQUESTS_PER_MINUTE: '1000000', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Line[] = [];
  t.teardown(() => server.kill('SIGKILL'));
  const ended = once(server, 'close').then(([code]) => code as number | null);
  const url = await new Promise<string | undefined>((resolve) => {
    createInterface({ input: server.stdout! })
      .on('line', (text) => {
        const line = JSON.parse(text) as Line;
        lines.push(line);
        const [address] = /http:\S+/.exec(line.msg) ?? [];
        if (address) resolve(address);
      })
      .on('close', () => resolve(undefined));
  });
  const finished = (status: number) =>
    lines.filter(({ msg, res }) => msg === 'request completed' && res?.statusCode === status).length;
  return { server, lines, ended, url: url ?? '', finished };
}
