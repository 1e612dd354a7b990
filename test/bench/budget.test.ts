import test from 'ava';
import { costOf, totals } from '../../bench/predict/cost.js';
import { batch, budgetOf, costed, deviations, predict, readBudgets } from '../../bench/predict/steps.js';
import { hasEmulation } from '../../lib/cuda.js';

/** What a training step costs a CUDA device, which a GPU doesn't have to be there for: launches and bytes are counted. */
const emulated = hasEmulation() ? test : test.skip;
if (!hasEmulation())
  console.error('budget.test.ts: the emulated device is not built (npm run cuda:emulate): tests skipped');

const short = { n: 5, precision: 'bf16', batch } as const;
const budgets = readBudgets();

for (const method of costed) {
  emulated(`launches and bytes of a step: ${method.name}`, async (t) => {
    const found = budgetOf(await costOf({ method, ...short }));
    const budget = budgets[method.name] ?? { launches: {}, inARow: 0, bytes: {} };
    const remedy = 'What has become less is kept by "npm run gpu:predict -- --write-budget"; more needs a reason.';
    t.deepEqual(deviations(found, budget), [], remedy);
  });
}

emulated('a launch more is noticed, and so is one less', async (t) => {
  const [method] = costed as readonly [(typeof costed)[number]];
  const step = { method, n: 1, precision: 'fp32', batch: 4 } as const;
  const cost = await costOf(step);
  const more = await costOf({ ...step, extra: true });
  t.is(totals(more).launches, totals(cost).launches + 2);
  t.deepEqual(deviations(budgetOf(more), budgetOf(cost)), [
    `fillValues: 2 launches, over its budget of 1`,
    `reluForward: 1 launches, over its budget of 0`,
    `relu: 8 bytes, over its budget of 0`,
    `a step: ${more.inARow} launches in a row, over its budget of ${more.inARow - 2}`,
  ]);
  t.deepEqual(deviations(budgetOf(cost), budgetOf(more)).length, 4);
  t.regex(deviations(budgetOf(cost), budgetOf(more))[0] ?? '', /below its budget of 2/);
});

emulated('work and gaps add up, but for the gaps of branches', async (t) => {
  const [method] = costed as readonly [(typeof costed)[number]];
  const cost = await costOf({ method, n: 1, precision: 'fp32', batch: 4 });
  t.true(cost.inARow < totals(cost).launches);
  const twice = { ...cost, inARow: 2 * cost.inARow };
  const gained = predict(twice, 'fp32').replayed - predict(cost, 'fp32').replayed;
  t.true(Math.abs(gained - cost.inARow * 1.5e-6) < 1e-12);
});
