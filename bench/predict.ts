/**
 * `npm run gpu:predict`: launches and bytes of a training step, counted on the emulated device, and what they would take on
 * an H100. A prediction, not a measurement: no GPU runs here. `--write-budget` makes them the budget that a test holds.
 */

import { writeFileSync } from 'node:fs';
import { type Cost, costOf, totals } from './predict/cost.js';
import { batch, budgetFile, budgetOf, costed, predict } from './predict/steps.js';

const mebi = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

function printTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  console.log(`\n| ${head.join(' | ')} |\n|${' --- |'.repeat(head.length)}`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
}

/** A row a kind, a column a method. */
function printKinds(title: string, costs: ReadonlyMap<string, Cost>, of: (cost: Cost) => ReadonlyMap<string, string>) {
  const columns = [...costs.values()].map(of);
  const kinds = new Set(columns.flatMap((column) => [...column.keys()]));
  printTable(
    [title, ...costs.keys()],
    [...kinds].map((kind) => [`\`${kind}\``, ...columns.map((column) => column.get(kind) ?? '')]),
  );
}

const rows: (string | number)[][] = [];
const short = new Map<string, Cost>();
for (const n of [5, 18]) {
  for (const method of costed) {
    for (const precision of ['fp32', 'bf16'] as const) {
      const cost = await costOf({ method, n, precision, batch });
      if (n === 5 && precision === 'bf16') short.set(method.name, cost);
      const { launches, inARow, needed, moved, operations } = totals(cost);
      const { replayed, eager } = predict(cost, precision);
      const times = [(replayed * 1e3).toFixed(2), (eager * 1e3).toFixed(2), Math.round(batch / replayed)];
      rows.push([
        method.name,
        n,
        precision,
        launches,
        inARow,
        mebi(needed),
        mebi(moved),
        Math.round(operations / 1e9),
        ...times,
      ]);
    }
  }
}
printTable(
  [
    'method',
    'n',
    'precision',
    'launches',
    'in a row',
    'MiB needed',
    'MiB moved',
    'GFLOP',
    'predicted replayed, ms',
    'predicted eager, ms',
    'predicted images/s, replayed',
  ],
  rows,
);
console.log(`\nn = 5, bf16, batch ${batch}`);
printKinds('launches of', short, ({ launches }) => new Map(Object.entries(launches).map(([k, v]) => [k, String(v)])));
printKinds(
  'MiB needed / moved',
  short,
  ({ traffic }) => new Map(traffic.map(({ name, needed, moved }) => [name, `${mebi(needed)} / ${mebi(moved)}`])),
);

if (process.argv.includes('--write-budget')) {
  const budgets = [...short].map(([name, cost]) => [name, budgetOf(cost)] as const);
  writeFileSync(budgetFile, `${JSON.stringify(Object.fromEntries(budgets), null, 2)}\n`);
}
