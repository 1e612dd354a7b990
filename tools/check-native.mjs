/**
 * `npm run check:native [-- --fix]`: the C++ sources are as clang-format writes them (`--fix` writes them so), and
 * clang-tidy finds nothing in what the addon is built of.
 *
 * Where a tool is missing, its part is skipped; `node tools/setup.mjs --system-only --checks` installs both, as root.
 */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { hasCommand, inParallel, ROOT, runScript, say } from './process.mjs';
import { setUp } from './setup.mjs';

const BUILD = join(ROOT, 'build');

await runScript(async () => {
  const fix = process.argv.includes('--fix');
  const parts = { 'clang-format': () => format(fix), 'clang-tidy': tidy };
  let code = 0;
  for (const [tool, part] of Object.entries(parts)) {
    if (!hasCommand(tool)) {
      console.log(`SKIPPED  ${tool}: it is not installed (Debian: apt-get install ${tool})`);
      continue;
    }
    const good = await part();
    console.log(`${good ? 'pass' : 'FAIL'}  ${tool}`);
    if (!good) code = 1;
  }
  return code;
});

/** The C++ files of this folder, from the package's. */
function sources(folder, pattern) {
  return readdirSync(join(ROOT, folder), { recursive: true })
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name))
    .sort();
}

function format(fix) {
  const args = fix ? ['-i'] : ['--dry-run', '--Werror'];
  const files = sources('native', /\.(c|cpp|cu|cuh|h)$/);
  return spawnSync('clang-format', [...args, ...files], { cwd: ROOT, stdio: ['ignore', 2, 2] }).status === 0;
}

/** Several files at a time; a file's findings come in one piece. */
async function tidy() {
  if (!existsSync(join(BUILD, 'compile_commands.json'))) await setUp();
  const compiled = readFileSync(join(BUILD, 'compile_commands.json'), 'utf8');
  // Gloo's and libjpeg-turbo's files are built where those are installed.
  const files = ['addon', 'core', 'cpu', 'distributed', 'jpeg']
    .flatMap((folder) => sources(join('native', folder), /\.cpp$/))
    .filter((file) => compiled.includes(file));
  let good = true;
  await inParallel(files, async (file) => {
    const { code, text } = await tidyFile(file);
    if (code === 0) return;
    good = false;
    say(text);
  });
  return good;
}

/**
 * What clang 14 needs to read sources made for GCC: the target for which it knows _Float16, and GCC's omp.h, after all of
 * its own headers, without the attribute's form that only GCC has.
 */
function tidyArguments() {
  const target = os.arch() === 'x64' ? ['--extra-arg=-mavx512fp16'] : [];
  const { stdout } = spawnSync('gcc', ['-print-file-name=include'], { encoding: 'utf8' });
  if (!stdout) return target;
  return [...target, `--extra-arg=-idirafter${stdout.trim()}`, '--extra-arg=-D__malloc__(...)=__unused__'];
}

function tidyFile(file) {
  return new Promise((resolve, reject) => {
    const child = spawn('clang-tidy', ['-p', BUILD, '--quiet', ...tidyArguments(), file], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += data));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text: `${file}\n${text}` }));
  });
}
