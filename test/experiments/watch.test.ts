import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Locator } from 'playwright-core';
import { readCurves, watchRuns } from '../../experiments/report/watch.js';
import { inBrowser } from '../support/browser.js';

const root = await mkdtemp(join(tmpdir(), 'kalman-norm-watch-'));
test.after.always(() => rm(root, { recursive: true, force: true }));

const line = (record: object) => `${JSON.stringify(record)}\n`;
const config = (label: string, seed: number) => line({ type: 'config', label, seed, epochs: 4, norm: { type: label } });
const epoch = (number: number, validationError: number | null) =>
  line({
    type: 'epoch',
    epoch: number,
    step: number * 10,
    learningRate: 0.1,
    trainLoss: 2 / number,
    trainError: 0.5 / number,
    validationLoss: 3 / number,
    validationError,
    imagesPerSecond: 100,
    seconds: 30,
  });

let count = 0;
/** A folder with runs, such as a sweep's. */
async function folderOf(logs: Readonly<Record<string, string>>): Promise<string> {
  const folder = join(root, `sweep-${count++}`);
  for (const [name, log] of Object.entries(logs)) {
    await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, name, 'log.jsonl'), log);
  }
  return folder;
}

test('curves: seeds become a mean with a range, and the time that is left follows from the last epochs', async (t) => {
  const folder = await folderOf({
    a0: config('KN', 0) + epoch(1, 0.4) + epoch(2, 0.2),
    a1: config('KN', 1) + epoch(1, 0.6) + epoch(2, null),
    b0: config('BN', 0) + epoch(1, 0.7) + line({ type: 'end', reason: 'finished' }),
  });
  const { curves, problems } = await readCurves([folder], Date.now());
  t.deepEqual(problems, []);
  t.like(curves, [
    { label: 'KN (2 seeds)', status: 'running', seeds: 2, epochs: 2, allEpochs: 4, speed: 100 },
    { label: 'BN', status: 'finished', seeds: 1, secondsLeft: null },
  ]);
  t.deepEqual(curves[0]!.validationError, [
    [0.5, 0.4, 0.6],
    // No mean over those that are left.
    [null, 0.2, 0.2],
  ]);
  t.deepEqual(curves[1]!.validationError, [[0.7, null, null]]);
  t.true(curves[0]!.secondsLeft! > 50 && curves[0]!.secondsLeft! <= 60, `${curves[0]!.secondsLeft} s`);
  const later = await readCurves([folder], Date.now() + 20_000);
  t.true(later.curves[0]!.secondsLeft! > 30 && later.curves[0]!.secondsLeft! <= 40);
});

test('curves: runs that begin, torn and broken logs, folders that are not there', async (t) => {
  const folder = await folderOf({
    begins: config('KN', 0),
    empty: '',
    torn: config('BN', 0) + epoch(1, 0.5) + epoch(2, 0.4).slice(0, 20),
    broken: `${config('GN', 0)}${epoch(1, 0.5)}{"type":"ep\n${epoch(2, 0.4)}`,
  });
  const dirs = ['begins', 'empty', 'torn', 'broken', 'missing'].map((name) => join(folder, name));
  const { curves, problems } = await readCurves(dirs);
  t.like(
    curves.map(({ status, epochs }) => [status, epochs]),
    [
      ['running', 1],
      ['starting', 0],
      ['starting', 0],
    ],
  );
  t.deepEqual(
    problems.map(({ dir }) => dir),
    [join(folder, 'broken'), join(folder, 'missing')],
  );
});

/** Status and type of an answer; with a header that `fetch` doesn't set. */
function ask(url: string, options: { host?: string; method?: string } = {}): Promise<[number | undefined, string]> {
  const { host, method = 'GET' } = options;
  return new Promise((resolve, reject) => {
    const call = request(url, { method, headers: host === undefined ? {} : { host } }, (answer) => {
      answer.resume();
      resolve([answer.statusCode, String(answer.headers['content-type'])]);
    });
    call.on('error', reject);
    call.end();
  });
}

test('the server hands out its page, and nothing else to nobody else', async (t) => {
  const page = await watchRuns([await folderOf({ a: config('KN', 0) + epoch(1, 0.5) })], 0);
  t.teardown(() => page.close());
  const { port } = new URL(page.url);
  for (const [path, type] of [
    ['', 'text/html'],
    ['watch.css', 'text/css'],
    ['watch.js', 'text/javascript'],
    ['echarts.js', 'text/javascript'],
    ['runs.json', 'application/json'],
  ]) {
    t.deepEqual(await ask(`${page.url}${path}`), [200, `${type}; charset=utf-8`]);
  }
  for (const path of ['../report.ts', '%2e%2e/report.ts', 'constructor', 'watch.ts']) {
    t.is((await ask(`${page.url}${path}`))[0], 404, path);
  }
  t.is((await ask(page.url, { host: `elsewhere.example:${port}` }))[0], 403);
  t.is((await ask(page.url, { method: 'POST' }))[0], 405);
  await t.throwsAsync(watchRuns([root], Number(port)), {
    code: 'INVALID_ARGUMENT',
    message: /--port: \d+ can't be used, another program has it/,
  } as object);
});

/** Of a row the texts of its cells, with spaces between. */
async function textOf(element: Locator): Promise<string> {
  await element.waitFor({ state: 'attached' });
  const cells = await element.locator('th, td').allTextContents();
  return cells.length > 0 ? cells.join(' ') : ((await element.textContent()) ?? '');
}

for (const colorScheme of ['light', 'dark'] as const) {
  inBrowser(
    `the page draws runs, follows them, and is read with keys, ${colorScheme}`,
    { colorScheme },
    async (t, page) => {
      const label = '<img src=x onerror=alert(1)>';
      const folder = await folderOf({
        a0: config('KN', 0) + epoch(1, 0.5) + epoch(2, 0.25),
        a1: config('KN', 1) + epoch(1, 0.3) + epoch(2, 0.15),
        b0: config(label, 0) + epoch(1, 0.75),
      });
      const watch = await watchRuns([folder], 0);
      try {
        await page.goto(watch.url);
        const row = (name: string) => page.locator('#runs tr', { hasText: name });
        t.regex(
          await textOf(row('KN (2 seeds)')),
          /2 of 4\s+20\.00 %\s+20\.00 %\s+25\.00 %\s+100\s+(1 min|\d+ s)\s+running/,
        );
        t.regex(await textOf(row('<img')), /1 of 4\s+75\.00 %/);
        t.true((await page.locator('#chart path').count()) > 4, 'curves are drawn');
        // The first of red, green and blue.
        const [text, paper] = await Promise.all(
          ['color', 'background-color'].map(async (property) => {
            const colour = await page.evaluate(`getComputedStyle(document.body).getPropertyValue('${property}')`);
            return Number(/\d+/.exec(colour as string)?.[0]);
          }),
        );
        t.is(text! > paper!, colorScheme === 'dark');

        await page.locator('#chart').focus();
        await page.keyboard.press('ArrowRight');
        t.regex(
          await textOf(page.locator('#reading')),
          /^Epoch 1, step 10\. KN \(2 seeds\): 40\.00 %; <img.*: 75\.00 %$/,
        );
        await page.keyboard.press('End');
        t.regex(await textOf(page.locator('#reading')), /^Epoch 2, step 20\. KN \(2 seeds\): 20\.00 %; .*–$/);
        t.is(await page.locator('#chart img').count(), 0, 'names are texts');
        const whole = await page.locator('#chart svg').textContent();
        // The page draws in its own time.
        const axis = (operator: '===' | '!==') => {
          const condition = `document.querySelector('#chart svg')?.textContent ${operator} ${JSON.stringify(whole)}`;
          return t.notThrowsAsync(page.waitForFunction(condition, null, { timeout: 10_000 }));
        };
        await page.keyboard.press('+');
        await axis('!==');
        await page.keyboard.press('0');
        await axis('===');
        await page.selectOption('#figure', 'loss');
        await axis('!==');

        await appendFile(join(folder, 'b0', 'log.jsonl'), epoch(2, 0.125) + line({ type: 'end', reason: 'finished' }));
        await row('12.50 %').waitFor({ timeout: 10_000 });
        t.regex(await textOf(row('<img')), /2 of 4\s+12\.50 %\s+12\.50 %.*–\s+finished/s);

        // What is shown is old then, and the page says so.
        await page.route('**/runs.json', (route) => route.fulfill({ body: 'no longer' }));
        await page.locator('#problems', { hasText: 'no news' }).waitFor({ timeout: 10_000 });
      } finally {
        await watch.close();
      }
    },
  );
}
