import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'ava';

/** What each file of the library imports, types too. */
function imports(): Map<string, string[]> {
  const files = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return new Map(
    files.map((file) => {
      const source = readFileSync(join('lib', file), 'utf8');
      const targets = [...source.matchAll(/^(?:import|export) [^;]*?from '(\.[^']*)\.js';/gm)];
      return [file, targets.map(([, target]) => `${normalize(join(dirname(file), target as string))}.ts`)];
    }),
  );
}

/** The files of a circle, if there is one. */
function circle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    done.add(file);
    path.push(file);
    for (const target of graph.get(file) ?? []) {
      const found = visit(target);
      if (found) return found;
    }
    path.pop();
    return null;
  };
  for (const file of graph.keys()) {
    const found = visit(file);
    if (found) return found;
  }
  return null;
}

test('imports within the library point down: there is no circle', (t) => {
  const graph = imports();
  t.true(graph.size > 40);
  for (const [file, targets] of graph) {
    for (const target of targets) t.true(graph.has(target), `${file} imports ${target}`);
  }
  t.is(circle(graph)?.join(' → ') ?? null, null);
});

test('a circle is found', (t) => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c', 'd']],
    ['c', []],
    ['d', ['b']],
  ]);
  t.deepEqual(circle(graph), ['b', 'd', 'b']);
});

/** Folders and files of the library from the ground up: each imports from itself and from those before it. */
const floors = [
  'errors',
  'scope',
  'addon',
  'tape',
  'program',
  'tensor',
  'autograd',
  'device-random',
  'ops',
  'nn',
  'optim',
  'models',
  'kalman',
  'distributed',
  'train',
  'serve',
  'index',
];

test('the floors of the library know nothing of those above', (t) => {
  const floor = (file: string) => floors.indexOf((file.split('/')[0] as string).replace('.ts', ''));
  for (const [file, targets] of imports()) {
    for (const target of targets) {
      if (floor(file) < 0 || floor(target) < 0) continue;
      t.true(floor(target) <= floor(file), `${file} imports ${target}`);
    }
  }
});
