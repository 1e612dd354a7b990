import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Report as PeerReport } from '../peers/parts.js';
import { TorchPeer, torchPlace } from '../peers/torch.js';
import { digits } from '../support/table.js';
import { runScript } from './child.js';
import type { CheckContext } from './context.js';
import { markdownTable, meaningless } from './report.js';

export const torchTitle = 'PyTorch';

/** Our training steps and PyTorch's, in turns; where Python has it. */
export async function compareTorch({ options, report, work, say }: CheckContext): Promise<void> {
  const { device, python, small } = options;
  const place = torchPlace(device, 'fp32');
  const onCpu = place.device === 'cpu';
  let version: string;
  try {
    const peer = await TorchPeer.start(python, 0, place);
    version = peer.version;
    await peer.close();
  } catch (error) {
    return report.set(torchTitle, { status: 'skipped', summary: (error as Error).message });
  }
  await report.set(torchTitle, { status: 'running', summary: version });
  const way = onCpu ? 'on the CPU' : 'with the fastest of its algorithms; bf16 by its automatic casts';
  const bodies = [`${small ? meaningless : ''}PyTorch ${version}, ${way}.\n`];
  let problems = 0;
  for (const precision of small ? ['fp32'] : ['fp32', 'bf16', 'tf32']) {
    const file = join(work, `torch-${precision}.json`);
    const effort = small ? ['n=1', '--smoke'] : ['n=5', '--rounds', '5', '--time', '500'];
    const args = [...effort, '--device', device, '--precision', precision, '--python', python, '--json', file];
    const { lines, problem, seconds } = await runScript('bench/peers.ts', args, { minutes: 15 });
    const results = await readFile(file, 'utf8').catch(() => null);
    if (results === null) {
      problems++;
      bodies.push(`${precision}: ${[problem, ...lines.slice(-3)].join('; ')}\n`);
    } else {
      const { reports } = JSON.parse(results) as { reports: PeerReport[] };
      bodies.push(...reports.map((one) => `### ${one.part}, ${precision}\n\n${peerTables(one)}`));
    }
    say(`  ${precision}: ${seconds.toFixed(0)} s`);
    await report.set(torchTitle, { body: bodies.join('\n') });
  }
  await report.set(torchTitle, { status: problems === 0 ? 'measured' : 'incomplete' });
}

/** Times of all candidates, and what PyTorch's are in ours. */
export function peerTables({ lines, ratios }: Pick<PeerReport, 'lines' | 'ratios'>): string {
  const measured = lines.filter(({ median }) => median !== undefined);
  const notes = lines.filter(({ note }) => note !== undefined).map(({ name, note }) => `- ${name}: ${note}\n`);
  const times = markdownTable(
    ['step', 'ms', 'images/s'],
    measured.map(({ name, median = Number.NaN, imagesPerSecond = Number.NaN }) => [
      name,
      digits(median),
      digits(imagesPerSecond),
    ]),
  );
  const pairs = markdownTable(
    ['time of / time of', 'ratio', '95 %'],
    ratios.map(({ pair, ratio, low, high }) => [pair, digits(ratio), `${digits(low)} – ${digits(high)}`]),
  );
  return [times, notes.join(''), pairs].filter(Boolean).join('\n');
}
