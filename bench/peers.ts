/** `npm run bench:peers`: our training steps and those of other libraries, in turns on one machine. */

import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { KalmanNormError, openDevice } from '../lib/index.js';
import type { GoalCheck } from './peers/goals.js';
import {
  depthPart,
  growthPart,
  memoryPart,
  type PeerContext,
  type Report,
  resnet50Part,
  tfjsPart,
} from './peers/parts.js';
import { TorchPeer, torchPlace } from './peers/torch.js';
import { type PeerArguments, type PeerPart, parsePeerArguments, peerUsage } from './support/arguments.js';
import { describeMachine, inspectMachine } from './support/machine.js';
import { digits, renderTable } from './support/table.js';

const parts: Record<PeerPart, (context: PeerContext) => Promise<Report>> = {
  'n=5': (context) => depthPart(context, 5),
  'n=1': (context) => depthPart(context, 1),
  growth: growthPart,
  resnet50: resnet50Part,
  memory: memoryPart,
  tfjs: tfjsPart,
};

async function main(): Promise<void> {
  const options = parsePeerArguments(process.argv.slice(2), process.env);
  if (!options) return console.log(peerUsage);
  const threads = options.threads || availableParallelism();
  const { precision, benchmark } = options;
  using device = openDevice(options.device, { threads, precision, benchmark });
  const machine = inspectMachine(device, options);
  console.log(describeMachine(machine));
  if (options.smoke) console.log('Smoke test: the figures mean nothing.');
  const { torch, missing } = await startTorch(options, threads);
  if (missing) console.log(missing);
  const reports: Report[] = [];
  try {
    for (const part of options.parts) {
      const report = await parts[part]({ device, options, threads, torch, progress });
      progress('');
      show(report);
      reports.push(report);
      if (options.json) {
        const peers = { torch: torch ? `${torch.version}, ${torch.threads} threads` : missing };
        await writeFile(options.json, JSON.stringify({ machine, options, peers, reports }, null, 2));
      }
    }
  } finally {
    await torch?.close();
  }
  showGoals(reports.flatMap(({ goals }) => goals));
}

async function startTorch(
  options: PeerArguments,
  threads: number,
): Promise<{ torch: TorchPeer | null; missing: string }> {
  const needed = options.parts.some((part) => part !== 'growth' && part !== 'tfjs');
  if (!needed) return { torch: null, missing: '' };
  try {
    const torch = await TorchPeer.start(options.python, threads, torchPlace(options.device, options.precision));
    console.log(`PyTorch ${torch.version}, ${torch.threads} threads`);
    return { torch, missing: '' };
  } catch (error) {
    return { torch: null, missing: (error as Error).message };
  }
}

function show({ part, lines, ratios }: Report): void {
  const spread = (low?: number, high?: number) => (low === undefined ? '' : `${digits(low)} – ${digits(high ?? low)}`);
  console.log(`\n${part}`);
  const measured = lines.filter(({ median }) => median !== undefined);
  if (measured.length > 0) {
    console.log(
      renderTable(
        ['', 'median', 'p25 – p75', 'images/s'],
        measured.map(({ name, unit = '', median = Number.NaN, p25, p75, imagesPerSecond }) => [
          name,
          `${digits(median)} ${unit}`,
          spread(p25, p75),
          imagesPerSecond === undefined ? '' : digits(imagesPerSecond),
        ]),
      ),
    );
  }
  for (const { name, note } of lines) if (note !== undefined) console.log(`${name}: ${note}`);
  if (ratios.length === 0) return;
  console.log(
    renderTable(
      ['time of / time of', 'ratio', 'p25 – p75 of rounds', '95 %'],
      ratios.map(({ pair, ratio, p25, p75, low, high }) => [pair, digits(ratio), spread(p25, p75), spread(low, high)]),
    ),
  );
}

function showGoals(goals: readonly GoalCheck[]): void {
  if (goals.length === 0) return;
  console.log(
    `\n${renderTable(
      ['figure', 'goal', 'measured', 'p25 – p75', ''],
      goals.map(({ figure, goal, ratio, p25, p75, met }) => [
        figure,
        goal,
        digits(ratio),
        `${digits(p25)} – ${digits(p75)}`,
        met ? 'met' : 'missed',
      ]),
    )}`,
  );
}

/** Shows what is going on; not in files. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof KalmanNormError)) throw error;
  console.error(`bench:peers: ${error.message}`);
  process.exitCode = 1;
}
