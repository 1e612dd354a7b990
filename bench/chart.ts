/** `npm run bench:chart -- FILE.json OUT.svg`: draws the steps of `npm run bench:peers -- --json FILE.json`. */

import { readFile } from 'node:fs/promises';
import * as echarts from 'echarts';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import type { Report } from './peers/parts.js';

/** Bars of images a second for one depth, ours in one colour and the peers' in another. */
export function drawPeers(report: Report): string {
  const lines = report.lines.filter(({ imagesPerSecond }) => imagesPerSecond !== undefined).reverse();
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 80 + 32 * lines.length });
  try {
    chart.setOption({
      animation: false,
      backgroundColor: '#fff',
      textStyle: { fontFamily: 'DejaVu Sans, Verdana, sans-serif' },
      title: { text: `Training steps, ${report.part}: images a second`, left: 'center', textStyle: { fontSize: 16 } },
      grid: { left: 240, right: 70, top: 50, bottom: 30 },
      xAxis: { type: 'value' },
      yAxis: { type: 'category', data: lines.map(({ name }) => name) },
      series: [
        {
          type: 'bar',
          data: lines.map(({ name, imagesPerSecond = 0 }) => ({
            value: Math.round(imagesPerSecond),
            itemStyle: { color: name.startsWith('torch') ? '#999999' : '#0072B2' },
          })),
          label: { show: true, position: 'right' },
        },
      ],
    });
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

async function main([input, output]: readonly string[]): Promise<void> {
  if (!input || !output) throw new Error('usage: npm run bench:chart -- FILE.json OUT.svg');
  const { reports } = JSON.parse(await readFile(input, 'utf8')) as { reports: Report[] };
  const report = reports.find(({ part }) => part.startsWith('n='));
  if (!report) throw new Error(`${input}: expected a report of the part n=1 or n=5`);
  await writeFileAtomic(output, drawPeers(report));
}

await main(process.argv.slice(2));
