import type { Module } from '../nn/module.js';
import { filterRows } from '../ops/adaptive-kalman.js';

const STEPS = filterRows.indexOf('steps');
/** So many channels are named. */
const SHOWN = 4;

/**
 * Where what a network normalizes by was first not finite. Filters don't follow such a step, and count those that they
 * follow; so it is the channels that stand still longest, of the first layer that has them.
 *
 * @returns null where no filter stood still, as in networks that have none
 * @internal
 */
export async function firstNotFinite(model: Module): Promise<string | null> {
  const layers: [name: string, steps: number[]][] = [];
  for (const [name, { shape, data }] of await model.stateValues()) {
    const channels = shape[1] ?? 0;
    if (name.endsWith('filterState'))
      layers.push([name, Array.from(data.subarray(STEPS * channels, (STEPS + 1) * channels))]);
  }
  const least = Math.min(...layers.flatMap(([, steps]) => steps));
  const most = Math.max(...layers.flatMap(([, steps]) => steps));
  const [name, steps] = layers.find(([, counts]) => counts.includes(least)) ?? [];
  if (!name || !steps || least === most) return null;
  const channels = steps.flatMap((count, channel) => (count === least ? [channel] : []));
  const list = channels.length === steps.length ? 'all' : channels.slice(0, SHOWN).join(', ');
  const rest = channels.length > SHOWN && channels.length < steps.length ? ` and ${channels.length - SHOWN} more` : '';
  const layer = name.replace(/\.?filterState$/, '');
  return `${layer || 'the normalization'}, channel${channels.length > 1 ? 's' : ''} ${list}${rest}`;
}
