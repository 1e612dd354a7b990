/** The page for people: three files, kept in memory. */
import { readFile } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';

const FILES = [
  { url: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { url: '/page.js', file: 'page.js', type: 'text/javascript; charset=utf-8' },
  { url: '/page.css', file: 'page.css', type: 'text/css; charset=utf-8' },
];

/** Nothing from elsewhere, nothing inline; `blob:` is the picture that was chosen. */
const POLICY = [
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:",
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
].join('; ');

/** Adds the page's routes. */
export async function servePage(app: FastifyInstance): Promise<void> {
  for (const { url, file, type } of FILES) {
    const content = await readFile(new URL(`public/${file}`, import.meta.url));
    app.get(url, async (_request, reply) =>
      reply.type(type).headers({ 'content-security-policy': POLICY, 'referrer-policy': 'no-referrer' }).send(content),
    );
  }
}
