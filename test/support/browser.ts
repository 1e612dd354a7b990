import { existsSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** Debian's. */
const executablePath = '/usr/bin/chromium';

/**
 * Defines a test with a page of a real browser; one that says it is skipped where there is none. What the page writes to
 * its console as an error, or throws, fails the test.
 *
 * @param options of the browser's context, such as `colorScheme`
 * @param expected what the console may say, such as that an answer was 404; default: nothing
 */
export function inBrowser(
  title: string,
  options: BrowserContextOptions,
  body: (t: ExecutionContext, page: Page) => Promise<void>,
  expected?: RegExp,
): void {
  if (!existsSync(executablePath)) {
    test.skip(`SKIPPED, no Chromium (apt-get install chromium): ${title}`, () => {});
    return;
  }
  test(title, async (t) => {
    // Root, as in a container, can't have Chromium's sandbox; the pages are our own.
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    try {
      const page = await browser.newPage(options);
      const complaints: string[] = [];
      page.on('pageerror', ({ message }) => complaints.push(message));
      page.on('console', (line) => {
        if (line.type() === 'error' && !expected?.test(line.text())) complaints.push(line.text());
      });
      await body(t, page);
      t.deepEqual(complaints, []);
    } finally {
      await browser.close();
    }
  });
}
