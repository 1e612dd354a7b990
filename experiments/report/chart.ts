import { Resvg } from '@resvg/resvg-js';
import * as echarts from 'echarts';
import { spreadOf } from './groups.js';
import type { Run } from './log.js';

const width = 900;
const height = 600;
/** Debian's fonts-dejavu-core has it; a browser without it takes the next. */
const fontFamily = 'DejaVu Sans, Verdana, Helvetica, Arial, sans-serif';

/** M. Okabe and K. Ito's colours, which colour-blind readers can tell apart; grey is left to the axes. */
const colours = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000'];

// Without a browser there is nothing to measure text with. DejaVu Sans is wide; 0.6 em is its mean letter.
echarts.setPlatformAPI({
  measureText(text, font) {
    const size = Number(/(\d+(?:\.\d+)?)px/.exec(font ?? '')?.[1] ?? 12);
    return { width: text.length * size * 0.6 };
  },
});

/** The colour of the i-th run. With more runs than colours they repeat, and the shapes of the marks differ. */
export function colourOf(i: number): string {
  return colours[i % colours.length]!;
}

/**
 * Draws the errors of the runs against their training steps, in percent: validation as a bold line, training as a
 * thin dashed one of the same colour. Lines that lie on each other share their place: each later one has wider gaps.
 *
 * @param runs at least one
 * @param title stands above the chart
 * @returns a complete SVG document of 900 x 600 pixels
 */
export function drawSvg(runs: readonly Run[], title: string): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption(chartOption(runs, title));
    return chart.renderToSVGString();
  } finally {
    // Its timers would keep the process alive.
    chart.dispose();
  }
}

/**
 * Turns the chart into a PNG of twice its size, for sharp print.
 *
 * @param svg from {@link drawSvg}
 * @returns the bytes of the file, and whether the system has a font to write with
 */
export function renderPng(svg: string): { png: Uint8Array; hasFont: boolean } {
  const font = { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans', sansSerifFamily: 'DejaVu Sans' };
  const render = (source: string, scale: number) =>
    new Resvg(source, { font, background: 'white', fitTo: { mode: 'zoom', value: scale } }).render();
  // Without fonts, text vanishes without an error: draw a letter and look for it.
  const letter =
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="18" font-size="20">M</text></svg>';
  const hasFont = render(letter, 1).pixels.some((value) => value !== 255);
  return { png: new Uint8Array(render(svg, 2).asPng()), hasFont };
}

function chartOption(runs: readonly Run[], title: string): echarts.EChartsCoreOption {
  const text = { fontFamily, color: '#222' };
  const axis = {
    type: 'value',
    nameLocation: 'middle',
    nameTextStyle: { ...text, fontSize: 15 },
    axisLine: { show: true, onZero: false, lineStyle: { color: '#444' } },
    axisTick: { show: true, lineStyle: { color: '#444' } },
    splitLine: { lineStyle: { color: '#e6e6e6' } },
  };
  const label = { ...text, fontSize: 13 };
  const lastStep = Math.max(...runs.flatMap(({ epochs }) => epochs.map(({ step }) => step)));
  return {
    animation: false,
    backgroundColor: '#ffffff',
    title: {
      text: title,
      left: 'center',
      top: 14,
      subtext: subtitle(runs),
      subtextStyle: { ...text, color: '#666', fontSize: 13 },
      textStyle: { ...text, fontSize: 18, width: width - 60, overflow: 'truncate' },
    },
    legend: {
      // Validation alone: the dashes are explained once, under the title, and not for every run.
      data: runs.map((run) => ({ name: run.label, itemStyle: { opacity: hasMarks(run) ? 1 : 0 } })),
      orient: 'vertical',
      right: 40,
      top: 82,
      selectedMode: false,
      itemWidth: 32,
      backgroundColor: 'rgba(255, 255, 255, 0.85)',
      borderColor: '#ccc',
      borderWidth: 1,
      padding: [8, 12],
      textStyle: { ...label, width: 330, overflow: 'truncate' },
    },
    grid: { left: 78, right: 28, top: 70, bottom: 66 },
    xAxis: {
      ...axis,
      name: 'training steps',
      nameGap: 34,
      min: 0,
      max: lastStep,
      axisLabel: { ...label, formatter: formatStep, hideOverlap: true, showMaxLabel: false },
    },
    yAxis: { ...axis, ...errorAxis(runs), name: 'error (%)', nameGap: 46, axisLabel: label },
    series: runs.flatMap((run, i) => {
      const validation = place(runs, i, 'validationError');
      const training = place(runs, i, 'trainError');
      const bold = {
        ...line(run, i, 'validationError'),
        name: run.label,
        lineStyle: {
          width: 2.2,
          type: run.isReference ? [9, 7] : validation.lines === 1 ? 'solid' : slice(validation),
        },
        symbolSize: 5 + 3 * (validation.lines - 1 - validation.number),
        z: 3,
      };
      if (run.isReference) return [...band(run, i), bold];
      return [
        ...band(run, i),
        bold,
        {
          ...line(run, i, 'trainError'),
          name: `${run.label}, training`,
          lineStyle: { width: 1, type: 'dashed', opacity: 0.75, ...(training.lines > 1 && turn(training)) },
          showSymbol: false,
          z: 2,
        },
      ];
    }),
  };
}

/** Of a line among those that lie on each other: how many they are, and how many lie beneath. */
interface Place {
  readonly lines: number;
  readonly number: number;
}

/** Runs count as lying on each other where a quarter of the steps that both have errors at, or more, are equal. */
function place(runs: readonly Run[], i: number, figure: 'validationError' | 'trainError'): Place {
  const errors = runs.map(({ epochs }) => new Map(epochs.map((epoch) => [epoch.step, epoch[figure]])));
  const mine = [...errors[i]!].filter(([, error]) => error !== null) as [number, number][];
  const onMine = runs.map((_, k) => {
    const common = mine.filter(([step]) => (errors[k]!.get(step) ?? null) !== null);
    // A thousandth is half the width of a line, on an axis of 100 %.
    const equal = common.filter(([step, error]) => Math.abs(errors[k]!.get(step)! - error) < 0.001);
    return k === i || (equal.length > 0 && equal.length >= common.length / 4);
  });
  return { lines: onMine.filter(Boolean).length, number: onMine.slice(0, i).filter(Boolean).length };
}

/** Dashes that leave a part of every line beneath to be seen; the lowest line is solid. */
function slice({ lines, number }: Place): 'solid' | number[] {
  const period = 12 * lines;
  return number === 0 ? 'solid' : [period - 12 * number, 12 * number];
}

/** Thin dashes that take turns. */
function turn({ lines, number }: Place): { type: number[]; dashOffset: number } {
  return { type: [5, 10 * lines - 5], dashOffset: -10 * number };
}

/** What the chart's lines mean. */
function subtitle(runs: readonly Run[]): string {
  const parts = ['solid: validation error, thin dashes: training error'];
  if (runs.some(({ isReference }) => isReference)) parts.push('bold dashes: to compare with');
  if (runs.some(({ members }) => members)) parts.push('bands: from the lowest to the highest of the seeds');
  return parts.join('; ');
}

/** The range of the validation errors over the seeds. */
function band(run: Run, i: number) {
  const { members } = run;
  if (!members) return [];
  const ranges = run.epochs.map(({ epoch, step }) => {
    const errors = members.map(({ epochs }) => epochs.find((other) => other.epoch === epoch)?.validationError ?? null);
    return { step, range: spreadOf(errors) };
  });
  const part = (value: (range: NonNullable<(typeof ranges)[number]['range']>) => number, opacity: number) => ({
    type: 'line',
    silent: true,
    stack: `band ${i}`,
    data: ranges.map(({ step, range }) => [step, range && value(range) * 100]),
    showSymbol: false,
    lineStyle: { opacity: 0 },
    areaStyle: { color: colourOf(i), opacity },
    z: 1,
  });
  return [part(({ lowest }) => lowest, 0), part(({ lowest, highest }) => highest - lowest, 0.18)];
}

function line(run: Run, i: number, figure: 'validationError' | 'trainError') {
  const data = run.epochs.map((epoch) => [epoch.step, percent(epoch[figure])]);
  const shapes = ['circle', 'rect', 'triangle', 'diamond'];
  return {
    type: 'line',
    silent: true,
    data,
    clip: true,
    connectNulls: false,
    itemStyle: { color: colourOf(i) },
    symbol: shapes[Math.floor(i / colours.length) % shapes.length],
    symbolSize: 5,
    showSymbol: hasMarks(run),
  };
}

/** Marks help to read a few epochs, and would hide the curve of many. A lone point is nothing without one. */
function hasMarks({ epochs }: Run): boolean {
  return epochs.length <= 30;
}

/** A round range around all errors, and the distance of the ticks. */
export function errorAxis(runs: readonly Run[]): { min: number; max: number; interval: number } {
  const values = runs
    .flatMap((run) => [run, ...(run.members ?? [])])
    .flatMap(({ epochs, isReference }) =>
      epochs.flatMap(({ validationError, trainError }) =>
        isReference ? [validationError] : [validationError, trainError],
      ),
    )
    .map(percent)
    .filter((value) => value !== null);
  if (values.length === 0) return { min: 0, max: 100, interval: 20 };
  const low = Math.min(...values);
  const high = Math.max(...values);
  // Zero belongs to the chart unless the curves are far from it.
  const floor = low < (high - low) / 2 ? 0 : low;
  const span = high - floor;
  const interval = span <= 12 ? 2 : span <= 30 ? 5 : span <= 60 ? 10 : 20;
  const min = Math.floor(floor / interval) * interval;
  return { min, max: Math.max(min + interval, Math.ceil(high / interval) * interval), interval };
}

function percent(share: number | null): number | null {
  return share === null ? null : share * 100;
}

function formatStep(step: number): string {
  return step >= 10_000 ? `${step / 1000}k` : String(step);
}
