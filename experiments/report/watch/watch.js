/** The page that follows runs: asks for them every two seconds, and draws what has changed. */

const PERIOD = 2000;
/** The report's colours, by M. Okabe and K. Ito; the last one is black on white, and white on black. */
const colours = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'];
const dark = matchMedia('(prefers-color-scheme: dark)');
const element = (id) => document.getElementById(id);

/** What each choice draws: the bold curve, and the thin one beside it where there is one. */
const choices = {
  error: { main: 'validationError', thin: 'trainError', scale: 100, digits: 2, unit: ' %' },
  loss: { main: 'validationLoss', thin: 'trainLoss', scale: 1, digits: 4, unit: '' },
  learningRate: { main: 'learningRate', thin: null, scale: 1, digits: 5, unit: '' },
  imagesPerSecond: { main: 'imagesPerSecond', thin: null, scale: 1, digits: 0, unit: '' },
};

const { echarts } = globalThis;
let chart = null;
let curves = [];
let shown = '';
/** The epoch that the keys read, counted from 0. */
let reading = null;

function colourOf(i) {
  const all = [...colours, dark.matches ? '#FFFFFF' : '#000000'];
  return all[i % all.length];
}

function choice() {
  return choices[element('figure').value];
}

function text(value, { digits, unit, scale }) {
  return value === null || value === undefined ? '–' : `${(value * scale).toFixed(digits)}${unit}`;
}

/** The lines of a curve: the range of its seeds as an area between two, the bold one, the thin one. */
function seriesOf(curve, i) {
  const { main, thin, scale } = choice();
  const colour = colourOf(i);
  const data = (figure, of) =>
    curve[figure].map((point, k) => [curve.steps[k], of(point) === null ? null : of(point) * scale]);
  const line = (name, figure, more) => ({
    type: 'line',
    id: `${i} ${figure}`,
    name,
    data: data(figure, ([mean]) => mean),
    itemStyle: { color: colour },
    showSymbol: curve.steps.length <= 30,
    ...more,
  });
  const edge = (id, of) => ({
    type: 'line',
    id: `${i} ${id}`,
    name: curve.label,
    stack: `${i}`,
    data: data(main, of),
    lineStyle: { opacity: 0 },
    areaStyle: { color: colour, opacity: id === 'band' ? 0.18 : 0 },
    showSymbol: false,
    silent: true,
  });
  const bold = line(curve.label, main, { lineStyle: { width: 2.2 } });
  const range = [
    edge('lowest', ([, lowest]) => lowest),
    edge('band', ([, lowest, highest]) => (lowest === null ? null : highest - lowest)),
  ];
  const dashed = { lineStyle: { width: 1, type: 'dashed' }, showSymbol: false };
  // The first one gives the legend its mark.
  return [
    bold,
    ...(curve.seeds > 1 ? range : []),
    ...(thin && element('training').checked ? [line(curve.label, thin, dashed)] : []),
  ];
}

/** What is said of a step, beside the pointer: a line a curve. As nodes, as names are texts of the runs. */
function tip(points) {
  const box = document.createElement('div');
  const step = points[0]?.axisValue;
  box.append(`step ${step}`);
  const { main, thin } = choice();
  for (const [i, curve] of curves.entries()) {
    const epoch = curve.steps.indexOf(step);
    if (epoch < 0 || !points.some(({ seriesId }) => seriesId === `${i} ${main}`)) continue;
    const line = document.createElement('div');
    const mark = document.createElement('b');
    mark.style.color = colourOf(i);
    mark.textContent = '● ';
    const training = thin ? `, training ${text(curve[thin][epoch]?.[0], choice())}` : '';
    line.append(mark, `${curve.label}: ${text(curve[main][epoch]?.[0], choice())}${training}`);
    box.append(line);
  }
  return box;
}

function draw() {
  const ink = getComputedStyle(document.body).color;
  const line = getComputedStyle(document.documentElement).getPropertyValue('--line');
  const drawn = curves.filter(({ steps }) => steps.length > 0);
  const axis = { axisLabel: { color: ink }, nameTextStyle: { color: ink }, splitLine: { lineStyle: { color: line } } };
  chart ??= echarts.init(element('chart'), null, { renderer: 'svg' });
  const option = {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    legend: { data: drawn.map(({ label }) => label), type: 'scroll', textStyle: { color: ink }, top: 0 },
    grid: { left: 70, right: 24, top: 44, bottom: 84 },
    tooltip: {
      trigger: 'axis',
      formatter: tip,
      backgroundColor: getComputedStyle(document.body).backgroundColor,
      borderColor: line,
      textStyle: { color: ink },
    },
    xAxis: { type: 'value', name: 'training steps', nameLocation: 'middle', nameGap: 28, ...axis },
    yAxis: { type: 'value', scale: true, name: element('figure').selectedOptions[0].text, ...axis },
    dataZoom: [{ type: 'inside' }, { type: 'slider', bottom: 8, height: 22 }],
    series: drawn.flatMap((curve) => seriesOf(curve, curves.indexOf(curve))),
  };
  // The zoom stays where it is while curves grow.
  chart.setOption(option, { replaceMerge: ['series'] });
}

function duration(seconds) {
  if (seconds === null) return '–';
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function list() {
  const percent = choices.error;
  const rows = curves.map((curve) => {
    const row = document.createElement('tr');
    const errors = curve.validationError.map(([mean]) => mean);
    const known = errors.filter((error) => error !== null);
    const cells = [
      text(errors.at(-1), percent),
      known.length > 0 ? text(Math.min(...known), percent) : '–',
      text(curve.trainError.at(-1)?.[0], percent),
      curve.speed === null ? '–' : String(Math.round(curve.speed)),
      duration(curve.secondsLeft),
      curve.status,
    ];
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = curve.label;
    const progress = document.createElement('td');
    if (curve.allEpochs !== null) {
      const bar = document.createElement('progress');
      bar.max = curve.allEpochs;
      bar.value = curve.epochs;
      bar.setAttribute('aria-label', `epochs of ${curve.label}`);
      progress.append(bar);
    }
    progress.append(`${curve.epochs}${curve.allEpochs === null ? '' : ` of ${curve.allEpochs}`}`);
    const rest = cells.map((content) => Object.assign(document.createElement('td'), { textContent: content }));
    row.append(name, progress, ...rest);
    return row;
  });
  element('runs').replaceChildren(...rows);
}

/** Says the figures of an epoch, and points at it. */
function read(epoch) {
  const longest = curves.reduce((best, curve) => (curve.steps.length > best.steps.length ? curve : best), curves[0]);
  if (!longest || longest.steps.length === 0) return;
  reading = Math.max(0, Math.min(longest.steps.length - 1, epoch));
  const { main } = choice();
  const parts = curves.map((curve) => `${curve.label}: ${text(curve[main][reading]?.[0], choice())}`);
  element('reading').textContent = `Epoch ${reading + 1}, step ${longest.steps[reading]}. ${parts.join('; ')}`;
  const seriesIndex = chart.getOption().series.findIndex(({ id }) => id === `${curves.indexOf(longest)} ${main}`);
  chart.dispatchAction({ type: 'showTip', seriesIndex, dataIndex: reading });
}

function zoom(factor) {
  const [{ start, end }] = chart.getOption().dataZoom;
  const [middle, half] = [(start + end) / 2, ((end - start) / 2) * factor];
  chart.dispatchAction({ type: 'dataZoom', start: Math.max(0, middle - half), end: Math.min(100, middle + half) });
}

const keys = {
  ArrowLeft: () => read((reading ?? Number.POSITIVE_INFINITY) - 1),
  ArrowRight: () => read((reading ?? -1) + 1),
  Home: () => read(0),
  End: () => read(Number.POSITIVE_INFINITY),
  '+': () => zoom(0.5),
  '=': () => zoom(0.5),
  '-': () => zoom(2),
  0: () => chart.dispatchAction({ type: 'dataZoom', start: 0, end: 100 }),
};

// With keys of its own, the chart is to be reached by them.
element('chart').tabIndex = 0;
element('chart').addEventListener('keydown', (event) => {
  const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
  if (!act || !chart || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
for (const id of ['figure', 'training']) element(id).addEventListener('change', draw);
dark.addEventListener('change', draw);
addEventListener('resize', () => chart?.resize());

async function update() {
  try {
    const answer = await fetch('runs.json');
    const body = await answer.text();
    if (!answer.ok) throw new Error(`the program answered ${answer.status}`);
    const state = JSON.parse(body);
    curves = state.curves;
    // The time that is left changes each time; curves only where there is a new epoch.
    const points = JSON.stringify(curves.map(({ label, steps, epochs, status }) => [label, steps, epochs, status]));
    list();
    if (points !== shown) draw();
    shown = points;
    const problems = state.problems.map(({ dir, message }) =>
      Object.assign(document.createElement('li'), { textContent: `${dir}: ${message}` }),
    );
    element('problems').replaceChildren(...problems);
  } catch (error) {
    const note = `These are no news: ${error.message}. Is the program still running?`;
    element('problems').replaceChildren(Object.assign(document.createElement('li'), { textContent: note }));
  }
  setTimeout(update, PERIOD);
}

await update();
