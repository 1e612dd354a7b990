import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import ts from 'typescript';
import { Conv2d, GlobalAvgPool2d, Linear, openDevice, Sequential, saveModel } from '../lib/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The ts blocks under each heading of a page, joined: a program each. */
async function programs(page: string): Promise<Map<string, string>> {
  const sections = (await readFile(join(root, page), 'utf8')).split(/^## /m).slice(1);
  const blocks = sections.map((section) => {
    const code = [...section.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block);
    return [section.split('\n')[0] as string, code.join('\n')] as const;
  });
  return new Map(blocks.filter(([, code]) => code !== ''));
}

/** A folder as a reader's project is, in which 'kalman-norm' is this library. */
async function project(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-docs-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const compilerOptions = {
    paths: { 'kalman-norm': [join(root, 'lib/index.ts')] },
    typeRoots: [join(root, 'node_modules/@types')],
    noUnusedLocals: false,
  };
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions }),
  );
  await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  return folder;
}

/** What the compiler says against the files of a project. */
function mistakes(folder: string, files: readonly string[]): string {
  const { config } = ts.readConfigFile(join(folder, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, files }, ts.sys, folder);
  const program = ts.createProgram([...files], options);
  const found = files.flatMap((file) => [...ts.getPreEmitDiagnostics(program, program.getSourceFile(file))]);
  return ts.formatDiagnostics(found, {
    getCurrentDirectory: () => folder,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  });
}

/**
 * Compiles and runs the programs of a page, one after the other in one folder. What they print must have each text of a
 * comment `// prints TEXT`, in that order.
 */
async function runPage(t: ExecutionContext, page: string, folder: string): Promise<void> {
  const files: [heading: string, file: string, code: string][] = [];
  for (const [heading, code] of await programs(page)) {
    const file = join(folder, `${files.length}.ts`);
    await writeFile(file, `${code}\nexport {};\n`);
    files.push([heading, file, code]);
  }
  t.true(files.length > 0);
  t.is(
    mistakes(
      folder,
      files.map(([, file]) => file),
    ),
    '',
  );
  for (const [heading, file, code] of files) {
    const options = { cwd: folder, timeout: 120_000 };
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [`--import=${import.meta.resolve('tsx')}`, file],
      options,
    );
    t.log(`${heading}:\n${stdout}`);
    let rest = stdout;
    for (const [, text = ''] of code.matchAll(/\/\/ prints (.*)$/gm)) {
      t.true(rest.includes(text), `${page}, ${heading}: expected ${text} in ${rest}`);
      rest = rest.slice(rest.indexOf(text) + text.length);
    }
  }
}

test('the programs of README.md run', async (t) => {
  const folder = await project(t);
  using device = openDevice('cpu', { threads: 1 });
  const net = new Sequential(new Conv2d(device, 3, 8, 3), new GlobalAvgPool2d(), new Linear(device, 8, 2));
  await saveModel(join(folder, 'model.safetensors'), net, {
    classNames: ['cat', 'dog'],
    input: { channels: 3, height: 8, width: 8 },
    normalization: { mean: [100, 120, 140], scale: 1 / 64 },
  });
  await sharp({ create: { width: 40, height: 30, channels: 3, background: '#a40' } }).toFile(
    join(folder, 'picture.png'),
  );
  await runPage(t, 'README.md', folder);
  const serving = (await programs('README.md')).get('Serve a model') ?? '';
  t.true(serving.trim().split('\n').length <= 10);
});

test('the programs of docs/guide.md run', async (t) => {
  await runPage(t, 'docs/guide.md', await project(t));
});

test('links between the pages lead somewhere', async (t) => {
  const docs = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md'));
  const pages = ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => `docs/${name}`)];
  const headings = async (page: string) =>
    [...(await readFile(page, 'utf8')).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) =>
      text
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
  for (const page of pages) {
    for (const [, target = ''] of (await readFile(join(root, page), 'utf8')).matchAll(/\]\((?!\w+:)([^)\s]+)\)/g)) {
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? join(root, page) : join(root, dirname(page), path);
      t.true(existsSync(file), `${page}: ${target}`);
      if (anchor) t.true((await headings(file)).includes(anchor), `${page}: ${target}`);
    }
  }
});
