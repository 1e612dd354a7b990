/** What must and what must not be in the published packages. */

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../process.mjs';

/** Everything the build on a user's machine needs. */
const sources = ['core', 'cpu', 'addon', 'preload', 'cuda', 'distributed', 'jpeg'].flatMap((folder) =>
  readdirSync(join(ROOT, 'native', folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(ROOT.length))
    .filter((path) => !path.startsWith('native/cuda/testing/')),
);
const MAIN = [
  'package.json',
  'README.md',
  'LICENSE',
  'CMakeLists.txt',
  'dist/lib/index.js',
  'dist/lib/index.d.ts',
  ...['js_native_api.h', 'node_api.h', 'napi.h', 'LICENSE.node-api-headers', 'LICENSE.node-addon-api'].map(
    (name) => `native/headers/${name}`,
  ),
  ...sources,
];
/** Of the tools those that build on a user's machine, and no others. */
const UNWANTED = [
  /^(?!dist\/lib\/|native\/(core|cpu|addon|preload|cuda|distributed|jpeg|headers)\/|tools\/[\w-]+\.mjs$|[^/]+$)/,
  /^tools\/(?!(cuda-(build|libraries|toolkit)|kalman-norm|launch|native-build|process|system-packages)\.mjs$)/,
  /^native\/cuda\/testing\//,
  /\.(bin|u8|gz|png|safetensors|jsonl|node|map|test\.\w+)$/,
];
const PREBUILT = [
  'package.json',
  'README.md',
  'LICENSE',
  'kalman_norm.node',
  'kalman_norm_jpeg.node',
  'kalman_norm_preload.node',
  'kalman_norm_sse41.node',
];
const ONLY_IN_PREBUILT = /^(package\.json|README\.md|LICENSE|[\w.]+\.(node|so[.\d]*)|licenses\/[\w.]+\.txt)$/;

/** What is wrong with the contents of the two tarballs; empty where nothing is. */
export function wrongContents([main, prebuilt]) {
  const [inMain, inPrebuilt] = [files(main), files(prebuilt)];
  const lacking = (present, needed) =>
    needed.filter((path) => !present.includes(path)).map((path) => `missing: ${path}`);
  const tooMuch = (paths) => paths.map((path) => `not wanted: ${path}`);
  return [
    ...lacking(inMain, MAIN),
    ...tooMuch(inMain.filter((path) => UNWANTED.some((pattern) => pattern.test(path)))),
    ...lacking(inPrebuilt, PREBUILT),
    ...tooMuch(inPrebuilt.filter((path) => !ONLY_IN_PREBUILT.test(path))),
    ...inPrebuilt
      .filter((path) => /^lib[^/]*$/.test(path))
      .flatMap((path) => lacking(inPrebuilt, [`licenses/${path}.txt`])),
  ];
}

function files(tarball) {
  const list = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n');
  return list.map((path) => path.replace(/^package\//, ''));
}
