import { shownJson } from '../../lib/arguments.js';
import { followed, type Scale } from '../diagnosis/followed.js';
import type { DiagnosisRecord, Run } from './log.js';
import { escapeHtml } from './page.js';

const columns = 4;
const [left, right, top] = [118, 12, 44];
const panelWidth = 186;
const gap = 10;
/** Above a panel: its name, and the scale of its colours. */
const head = 34;
const width = left + columns * panelWidth + (columns - 1) * gap + right;
const fontFamily = 'DejaVu Sans, Verdana, Helvetica, Arial, sans-serif';

/** Epochs that are told apart; of more, neighbours are averaged. */
const mostColumns = 60;

/** Okabe and Ito's blue and vermilion, which colour-blind readers can tell apart. */
const [positive, negative] = [
  [0x00, 0x72, 0xb2],
  [0xd5, 0x5e, 0x00],
];

/**
 * Draws what filters did over depth and time: for every run that was looked at, and every figure that is followed, a panel
 * with a row a layer and a column an epoch. Of runs with several seeds each is drawn.
 *
 * @returns a complete SVG document; null where no run was looked at
 */
export function drawFilters(runs: readonly Run[]): string | null {
  const drawn = runs.flatMap((run) =>
    (run.members ?? [run]).flatMap(({ diagnoses = [], config }) => {
      const known = diagnoses.filter(({ layers }) => layers.length > 0);
      const label = run.members ? `${run.label}, seed ${shownJson(config.seed)}` : run.label;
      return known.length > 0 ? [{ label, diagnoses: known }] : [];
    }),
  );
  if (drawn.length === 0) return null;
  const parts: string[] = [];
  let y = 0;
  for (const { label, diagnoses } of drawn) {
    const { svg, height } = drawRun(label, diagnoses);
    parts.push(`<g transform="translate(0 ${y})">${svg}</g>`);
    y += height;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" role="img" font-family="${fontFamily}" font-size="11" fill="#222">
<title>What the filters did, over depth and time</title>
<defs>${gradient('shades0', [0, 1])}${gradient('shades-1', [-1, 0, 1])}</defs>
<rect width="100%" height="100%" fill="#fff"/>
${parts.join('\n')}
</svg>
`;
}

function drawRun(label: string, diagnoses: readonly DiagnosisRecord[]): { svg: string; height: number } {
  const layers = (diagnoses[0] as DiagnosisRecord).layers.map(({ layer }) => layer);
  const rowHeight = Math.max(3, Math.min(14, Math.round(160 / layers.length)));
  const panelHeight = layers.length * rowHeight;
  const step = head + panelHeight + gap;
  const panels = followed.map(({ name, scale }, figure) => {
    const [column, row] = [figure % columns, Math.floor(figure / columns)];
    const place = `translate(${left + column * (panelWidth + gap)} ${top + row * step})`;
    const names = column === 0 ? layerNames(layers, rowHeight) : '';
    const cells = cellsOf(diagnoses, layers, figure, scale, rowHeight);
    const frame = `<rect y="${head}" width="${panelWidth}" height="${panelHeight}" fill="none" stroke="#999"/>`;
    return `<g transform="${place}"><text y="12">${escapeHtml(name)}</text>${legend(scale)}${names}${cells}${frame}</g>`;
  });
  const bottom = top + Math.ceil(followed.length / columns) * step;
  const [first, last] = [diagnoses[0]?.epoch, diagnoses.at(-1)?.epoch];
  const axis = `each panel: epoch ${first} to ${last} from left to right, layers from the input down; grey: nothing to show`;
  const texts = [
    `<text x="${width / 2}" y="24" text-anchor="middle" font-size="16" font-weight="bold">${escapeHtml(label)}</text>`,
    `<text x="${width / 2}" y="${bottom + 8}" text-anchor="middle" fill="#666">${axis}</text>`,
  ];
  return { svg: [...texts, ...panels].join('\n'), height: bottom + 24 };
}

function layerNames(layers: readonly string[], rowHeight: number): string {
  const every = Math.ceil(10 / rowHeight);
  return layers
    .map((layer, i) => {
      const y = head + (i + 0.5) * rowHeight + 3;
      return i % every === 0 ? `<text x="-6" y="${y}" text-anchor="end" font-size="9">${escapeHtml(layer)}</text>` : '';
    })
    .join('');
}

function cellsOf(
  diagnoses: readonly DiagnosisRecord[],
  layers: readonly string[],
  figure: number,
  scale: Scale,
  rowHeight: number,
): string {
  const count = Math.min(diagnoses.length, mostColumns);
  const cellWidth = panelWidth / count;
  const cell = (row: number, column: number) => {
    const from = Math.floor((column * diagnoses.length) / count);
    const to = Math.floor(((column + 1) * diagnoses.length) / count);
    const shades = diagnoses
      .slice(from, to)
      .map((diagnosis) => diagnosis.layers[row]?.figures[figure] ?? null)
      .flatMap((value) => (value === null ? [] : [scale.shade(value)]))
      .filter(Number.isFinite);
    const shade = shades.reduce((sum, value) => sum + value, 0) / shades.length;
    const [x, y] = [+(column * cellWidth).toFixed(2), head + row * rowHeight];
    return `<path fill="${colour(shade)}" d="M${x} ${y}h${+cellWidth.toFixed(2)}v${rowHeight}h${-+cellWidth.toFixed(2)}z"/>`;
  };
  const rows = layers.map((_, row) => Array.from({ length: count }, (_, column) => cell(row, column)).join(''));
  // Edges that fall between pixels would let the ground shine through.
  return `<g shape-rendering="crispEdges">${rows.join('')}</g>`;
}

function legend({ lowest, ends }: Scale): string {
  return `<rect x="44" y="19" width="64" height="8" fill="url(#shades${lowest})" stroke="#ccc"/><text x="40" y="27" font-size="9" text-anchor="end">${ends[0]}</text><text x="112" y="27" font-size="9">${ends[1]}</text>`;
}

function gradient(id: string, shades: readonly number[]): string {
  const stops = shades.map((shade, i) => `<stop offset="${i / (shades.length - 1)}" stop-color="${colour(shade)}"/>`);
  return `<linearGradient id="${id}">${stops.join('')}</linearGradient>`;
}

/** Grey where there is no shade. */
function colour(shade: number): string {
  if (Number.isNaN(shade)) return '#ddd';
  const end = shade < 0 ? negative : positive;
  const parts = end!.map((value) => Math.round(255 + (value - 255) * Math.abs(shade)));
  return `#${parts.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
}
