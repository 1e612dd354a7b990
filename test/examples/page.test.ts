import { readdir, readFile } from 'node:fs/promises';
import test, { type ExecutionContext } from 'ava';
import type { FileChooser, Page } from 'playwright-core';
import { inBrowser } from '../support/browser.js';
import { TestRandom } from '../support/random.js';
import { listening, noise, service } from '../support/service.js';

const pages = new URL('../../examples/service/public/', import.meta.url);

test('the page is three files of its own: nothing from elsewhere, nothing inline', async (t) => {
  const { app } = await service(t);
  const html = await app.inject('/');
  t.regex(String(html.headers['content-type']), /^text\/html/);
  t.regex(String(html.headers['content-security-policy']), /default-src 'none'; script-src 'self'; style-src 'self'/);
  t.regex(html.body, /<html lang="en">/);
  t.notRegex(html.body, /<script(?![^>]*src=)|<style|\son\w+=|\sstyle=/);
  const served = ['index.html'];
  for (const [, url = ''] of html.body.matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)) {
    const answer = await app.inject(`/${url}`);
    t.is(answer.statusCode, 200, url);
    t.is(answer.body, await readFile(new URL(url, pages), 'utf8'));
    served.push(url);
  }
  t.deepEqual(served.sort(), (await readdir(pages)).sort());
  for (const name of served) t.notRegex(await readFile(new URL(name, pages), 'utf8'), /https?:|["']\/\//, name);
});

/** Defines a test with the page in a narrow browser, which may ask nobody but the service. */
function onPage(
  title: string,
  body: (t: ExecutionContext, page: Page, url: string) => Promise<void>,
  expected?: RegExp,
): void {
  inBrowser(
    title,
    { viewport: { width: 320, height: 640 } },
    async (t, page) => {
      const { model, url } = await listening(t);
      const strangers: string[] = [];
      page.on('request', (request) => {
        if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) strangers.push(request.url());
      });
      await page.goto(url);
      await body(t, page, url);
      t.deepEqual(strangers, []);
      t.is(model.queued, 0);
    },
    expected,
  );
}

/** A picture, and what the service says of it. */
async function picture(t: ExecutionContext, url: string) {
  const buffer = await noise(new TestRandom(t.title)).png().toBuffer();
  const headers = { 'content-type': 'image/png' };
  const answer = await fetch(`${url}/predict`, { method: 'POST', headers, body: new Uint8Array(buffer) });
  const { classes } = (await answer.json()) as { classes: { name: string; probability: number }[] };
  const lines = classes.map(({ name, probability }) => `${name} ${(100 * probability).toFixed(1)}%`);
  return { file: { name: 'beast.png', mimeType: 'image/png', buffer }, classes, lines };
}

/**
 * What Space opens on the focused field. Chromium opens no chooser where a key is handled more than 5 s after it was
 * pressed, as a busy machine may have it: then it is pressed again.
 */
async function chooserBySpace(page: Page): Promise<FileChooser> {
  for (let press = 0; press < 5; press++) {
    const opened = page.waitForEvent('filechooser', { timeout: 6000 }).catch(() => undefined);
    await page.keyboard.press('Space');
    const chooser = await opened;
    if (chooser) return chooser;
  }
  throw new Error('Space opens no chooser');
}

onPage('a picture that is chosen by keyboard: classes with bars, as the service says', async (t, page, url) => {
  const { file, classes, lines } = await picture(t, url);
  await page.keyboard.press('Tab');
  t.is(await page.evaluate('document.activeElement.id'), 'file');
  await (await chooserBySpace(page)).setFiles(file);
  const items = page.getByRole('list', { name: 'Likeliest classes' }).getByRole('listitem');
  await items.first().waitFor();
  t.deepEqual(
    await items.allInnerTexts().then((texts) => texts.map((text) => text.replace(/\s+/g, ' ').trim())),
    lines,
  );
  t.is(await page.getByRole('status').textContent(), `beast.png: most likely ${lines[0]!.replace(' ', ', ')}.`);
  const widths = await page.$$eval('.bar', (bars) =>
    bars.map((bar) => (bar.firstElementChild as unknown as Box).offsetWidth / (bar as unknown as Box).offsetWidth),
  );
  for (const [i, width] of widths.entries()) t.true(Math.abs(width - classes[i]!.probability) < 0.01);
  // What a screen reader has: a named field with its hint, the picture's name, the answer as status and as a list.
  const tree = await page.locator('main').ariaSnapshot();
  for (const part of [/heading "What is in the picture\?"/, /button "Choose a picture/, /img "beast.png"/, /status:/]) {
    t.regex(tree, part);
  }
  const wide = await page.evaluate('document.documentElement.scrollWidth');
  t.true((wide as number) <= 320, 'nothing to scroll sideways on a narrow screen');
});

interface Field {
  readonly files: readonly { readonly name: string }[];
}

interface Box {
  readonly offsetWidth: number;
}

onPage(
  'a picture that is dropped, then one that is none',
  async (t, page, url) => {
    const { file, lines } = await picture(t, url);
    const drop = async (name: string, bytes: Buffer) => {
      const transfer = await page.evaluateHandle(`(() => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob('${bytes.toString('base64')}'), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], '${name}', { type: 'image/png' }));
      return transfer;
    })()`);
      for (const type of ['dragover', 'drop']) await page.dispatchEvent('#drop', type, { dataTransfer: transfer });
    };
    await drop(file.name, file.buffer);
    await page.getByText(`most likely ${lines[0]!.replace(' ', ', ')}.`).waitFor();
    t.is(await page.$eval('#file', (input) => (input as unknown as Field).files[0]!.name), file.name);
    await drop('text.png', Buffer.from('no picture'));
    await page.getByText('text.png: an encoded image must be a JPEG, PNG or WebP file.').waitFor();
    t.false(await page.locator('#classes').isVisible());
    await page.route('**/predict*', (route) => route.abort());
    await drop(file.name, file.buffer);
    await page.getByText('beast.png: the service could not be reached.').waitFor();
  },
  /^Failed to load resource/,
);

/** Contrast of two colours as browsers write them, by WCAG 2. */
function contrast(a: string, b: string): number {
  const luminance = (colour: string) => {
    const [r = 0, g = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((text) => {
      const value = Number(text) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

onPage('light and dark: all texts and bars stand out', async (t, page, url) => {
  const { file } = await picture(t, url);
  await page.setInputFiles('#file', file);
  await page.locator('#classes').waitFor();
  await page.$eval('#status', (status) => status.classList.add('error'));
  const style = (selector: string, name: string) =>
    page.evaluate(`getComputedStyle(document.querySelector('${selector}')).${name}`) as Promise<string>;
  const grounds = new Set<string>();
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    const ground = await style('body', 'backgroundColor');
    grounds.add(ground);
    for (const selector of ['h1', 'label', '#hint', '#status', '#classes li']) {
      const ratio = contrast(await style(selector, 'color'), ground);
      t.true(ratio >= 4.5, `${selector}, ${colorScheme}: ${ratio}`);
    }
    const [bar, track, frame] = [
      await style('.bar div', 'backgroundColor'),
      await style('.bar', 'backgroundColor'),
      await style('#drop', 'borderTopColor'),
    ];
    for (const pair of [
      [bar, track],
      [bar, ground],
      [frame, ground],
    ] as const) {
      t.true(contrast(...pair) >= 3, `${pair}, ${colorScheme}`);
    }
  }
  t.is(grounds.size, 2);
});
