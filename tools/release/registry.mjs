/** An npm registry on this machine that knows the packages of some tarballs, and no others. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';

/**
 * Starts one on a free port of the loopback interface.
 *
 * @param tarballs paths of what `npm pack` made
 * @returns `{ url, close }`
 */
export async function startRegistry(tarballs) {
  const packages = new Map(tarballs.map((path) => [manifestOf(path).name, path]));
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url);
    const file = tarballs.find((tarball) => path === `/-/${basename(tarball)}`);
    const tarball = packages.get(path.slice(1));
    if (file) return response.end(readFileSync(file));
    response.writeHead(tarball ? 200 : 404, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(tarball ? document(tarball, `http://${request.headers.host}`) : { error: 'not found' }),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** What a registry says of a package with one version. */
function document(tarball, host) {
  const manifest = manifestOf(tarball);
  const { name, version } = manifest;
  const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  const dist = { tarball: `${host}/-/${basename(tarball)}`, integrity };
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } };
}

function manifestOf(tarball) {
  return JSON.parse(execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' }));
}
