/** Checks what `npm pack` would publish: every native source and the built library, and nothing of tests or data. */

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const out = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' });
const files = Object.values(JSON.parse(out))[0].files.map((file) => file.path);

const sources = ['core', 'cpu', 'addon', 'preload', 'cuda'].flatMap((folder) =>
  readdirSync(join('native', folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((path) => !path.startsWith(join('native', 'cuda', 'testing'))),
);
const needed = [
  'package.json',
  'LICENSE',
  'CMakeLists.txt',
  'tools/kalman-norm.mjs',
  'dist/lib/index.js',
  'dist/lib/index.d.ts',
  ...sources,
];
const missing = needed.filter((path) => !files.includes(path));
const unwanted = files.filter(
  (path) =>
    /^(test|bench|examples|experiments|build|node_modules|train_log|docs)\//.test(path) ||
    // Of the tools only those that build addon and CUDA device on the user's machine.
    /^tools\/(?!(cuda-build|cuda-libraries|cuda-toolkit|kalman-norm|setup)\.mjs$)/.test(path) ||
    /^native\/(emulation|cuda\/testing)\//.test(path) ||
    /\.(bin|u8|gz|png|safetensors|jsonl|node|test\.\w+)$/.test(path),
);

console.log(`${files.length} files:\n${files.join('\n')}`);
if (missing.length > 0) console.log(`\nMISSING from the package:\n${missing.join('\n')}`);
if (unwanted.length > 0) console.log(`\nNOT WANTED in the package:\n${unwanted.join('\n')}`);
process.exitCode = missing.length + unwanted.length > 0 ? 1 : 0;
