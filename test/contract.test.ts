import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';
import type { Operations } from '../lib/addon/contract.js';
import { native } from '../lib/addon/load.js';
import { KalmanNormError, openDevice } from '../lib/index.js';

/** The operations of the contract with the names of their parameters, as the compiler sees them: all that lib declares. */
function contract(): Record<string, string[]> {
  const lib = fileURLToPath(new URL('../lib/', import.meta.url));
  const file = join(lib, 'addon', 'contract.ts');
  const sources = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const program = ts.createProgram(
    sources.map((name) => join(lib, name)),
    { strict: true, noLib: true, types: [], module: ts.ModuleKind.NodeNext },
  );
  const checker = program.getTypeChecker();
  const operations = program
    .getSourceFile(file)
    ?.statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === 'Operations');
  const entries = checker
    .getTypeAtLocation(operations as ts.Node)
    .getProperties()
    .map((operation) => {
      const [signature] = checker.getTypeOfSymbol(operation).getCallSignatures();
      const [parameter, ...more] = signature?.parameters ?? [];
      if (!parameter || more.length > 0) throw new Error(`${operation.name} must take one object`);
      const names = checker
        .getTypeOfSymbol(parameter)
        .getProperties()
        .map(({ name, flags }) => (flags & ts.SymbolFlags.Optional ? `${name}?` : name));
      return [operation.name, names.sort()] as const;
    });
  return Object.fromEntries(entries);
}

test('the addon exports what the contract says: operations, parameters, which may be left out', (t) => {
  const exported = Object.entries(native.signatures()).map(([name, parameters]) => [name, [...parameters].sort()]);
  const expected = contract();
  t.true(Object.keys(expected).length > 40);
  t.deepEqual(Object.fromEntries(exported), expected);
  const beside = ['setErrorClass', 'signatures', 'version'];
  t.deepEqual(Object.keys(native).sort(), [...Object.keys(expected), ...beside].sort());
});

const wrong: [title: string, call: (operations: Operations) => unknown, message: RegExp][] = [
  ['no arguments', ({ relu }) => (relu as unknown as () => void)(), /^relu: /],
  [
    'a missing argument',
    ({ relu }) => (relu as (args: object) => void)({}),
    /^relu: x must be a tensor, got undefined/,
  ],
  ['an unknown argument', ({ cudaDevices }) => cudaDevices({ library: '', path: '' } as never), /^cudaDevices: .*path/],
  ['a tensor in place of the object', ({ relu }) => relu('x' as never), /^relu: /],
];

for (const [title, call, message] of wrong) {
  test(`native calls refuse ${title}`, (t) => {
    const error = t.throws(() => call(native), { instanceOf: KalmanNormError });
    t.is(error.code, 'INVALID_ARGUMENT');
    t.regex(error.message, message);
  });
}

test('optional arguments may be left out or null', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const [x, w] = [device.ones([1, 2]).handle, device.ones([2, 1]).handle];
  for (const args of [
    { x, w },
    { x, w, b: null },
  ]) {
    const y = native.linear(args);
    t.deepEqual([...(await native.download({ tensor: y }))], [2]);
    y.dispose();
  }
});
