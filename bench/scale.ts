/** `npm run predict:scale`: what a step of ResNet-50 would take on many GPUs. A prediction: no GPU runs here. */

import { execFile } from 'node:child_process';
import { loadavg } from 'node:os';
import { promisify } from 'node:util';
import { runAsProgram, runCommand } from '../experiments/command.js';
import { number } from '../experiments/flags.js';
import { BatchNorm2d, openDevice, processGroupProblem, ResNet } from '../lib/index.js';
import { allReduceTime, fitNetwork, gradients, type Network, syncBatchNorm, type Traffic } from './scale/cost.js';
import { digits, renderTable } from './support/table.js';

const usage = `Predicts the time of a training step on 1 to 1,024 GPUs with synchronized batch normalization, which sends
statistics at every layer, and with Kalman normalization, which sends none. The formulas are in docs/scale.md.

usage: npm run predict:scale [-- flags]

  --batch VALUE      images of a GPU; default: 4
  --step VALUE       ms of a step of one GPU with batch normalization; default: 8, an assumption
  --kalman VALUE     a Kalman step in multiples of it; default: 1.2, as measured on the CPU
  --latency VALUE    microseconds of a message between GPUs; default: 10, an assumption
  --bandwidth VALUE  10^9 bytes a second between GPUs; default: 25 (200 Gbit/s), an assumption
  --check            all-reduces of 2 Gloo processes here give latency and bandwidth; the formula's times for 4 processes
                     beside measured ones`;

/** The ResNet-50's, by its own modules. */
function trafficOfResNet50(): Traffic {
  using device = openDevice('cpu');
  using net = new ResNet(device, { depth: 50, norm: { type: 'batch' }, seed: 0 });
  return {
    gradientBytes: 4 * net.parameters().reduce((sum, { size }) => sum + size, 0),
    channels: net.modules().flatMap((layer) => (layer instanceof BatchNorm2d ? [layer.channels] : [])),
  };
}

/** Times of all-reduces between processes of this machine. */
async function measure(processes: number, sizes: readonly number[]): Promise<{ bytes: number; seconds: number }[]> {
  const launch = ['tools/kalman-norm.mjs', 'launch', '--processes', String(processes), 'bench/scale/member.ts'];
  const { stdout } = await promisify(execFile)(process.execPath, [...launch, ...sizes.map(String)]);
  return JSON.parse(/\[\{.*\}\]/.exec(stdout)?.[0] as string);
}

async function check(traffic: Traffic): Promise<void> {
  const problem = processGroupProblem();
  if (problem) return console.log(`SKIPPED: ${problem}`);
  const sizes = [4, 4 * (2 * 256 + 1), 2 ** 18, 2 ** 21, 2 ** 24];
  const two = await measure(2, sizes);
  const network = fitNetwork(two[0] as (typeof two)[0], two.at(-1) as (typeof two)[0]);
  const { latency, bandwidth } = network;
  console.log(
    `\n2 processes: ${digits(latency * 1e6)} µs, ${digits(bandwidth / 1e9)} GB/s; load ${loadavg()[0]?.toFixed(1)}`,
  );
  const rows = [];
  for (const [processes, measured] of [
    [2, two],
    [4, await measure(4, sizes)],
  ] as const) {
    for (const { bytes, seconds } of measured) {
      const predicted = allReduceTime(processes, bytes, network);
      rows.push([`${processes}`, `${bytes}`, ...[predicted * 1e3, seconds * 1e3, seconds / predicted].map(digits)]);
    }
  }
  console.log(renderTable(['processes', 'bytes', 'predicted ms', 'measured ms', 'measured / predicted'], rows));
  const { seconds, count } = syncBatchNorm(2, traffic, network);
  console.log(`2 processes: ${count} collectives of SyncBN's would take ${digits(seconds * 1e3)} ms of each step.`);
}

async function main(args: readonly string[]): Promise<number> {
  const text = { type: 'string' } as const;
  const flags = {
    batch: text,
    step: text,
    kalman: text,
    latency: text,
    bandwidth: text,
    check: { type: 'boolean' },
  } as const;
  return runCommand({ usage, flags }, args, console.log, async ({ values }) => {
    const positive = (flag: 'batch' | 'step' | 'kalman' | 'latency' | 'bandwidth', fallback: number) =>
      number(flag, values[flag], fallback, (value) => value > 0 && Number.isFinite(value), 'a positive number');
    const [batch, step, kalman] = [positive('batch', 4), positive('step', 8) / 1e3, positive('kalman', 1.2)];
    const network: Network = { latency: positive('latency', 10) / 1e6, bandwidth: positive('bandwidth', 25) * 1e9 };
    const traffic = trafficOfResNet50();
    const { gradientBytes, channels } = traffic;
    console.log('Predicted, not measured. ResNet-50:');
    console.log(`  ${(gradientBytes / 1e6).toFixed(1)} MB of gradients, ${channels.length} normalizations`);
    const rows = Array.from({ length: 11 }, (_, power) => {
      const processes = 2 ** power;
      const [sent, statistics] = [gradients(processes, traffic, network), syncBatchNorm(processes, traffic, network)];
      const times = [step + sent.seconds + statistics.seconds, step * kalman + sent.seconds] as const;
      const rates = times.map((seconds) => (processes * batch) / seconds);
      return [
        `${processes}`,
        `${sent.count + statistics.count}`,
        digits((sent.bytes + statistics.bytes) / 1e6),
        `${sent.count}`,
        digits(sent.bytes / 1e6),
        ...times.map((seconds) => digits(seconds * 1e3)),
        ...rates.map(digits),
        digits(times[0] / times[1]),
      ];
    });
    const [sync, kn] = ['SyncBN', 'KN'];
    const counts = [sync, kn].flatMap((norm) => [`${norm}: collectives`, 'MB']);
    const figures = [`${sync}: step, ms`, kn, `${sync}: images/s`, kn, `${sync} / ${kn}`];
    console.log(renderTable(['GPUs', ...counts, ...figures], rows));
    if (values.check) await check(traffic);
    return 0;
  });
}

await runAsProgram(import.meta.url, main);
