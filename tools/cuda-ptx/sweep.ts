import { readdirSync } from 'node:fs';
import { type Device, scope } from '../../lib/index.js';
import { type Family, Inputs } from './inputs.js';

const FAMILIES = new URL('./sweep/', import.meta.url);

/** Every kernel that a device of this precision can launch: what the files in sweep/ launch. */
export async function sweep(device: Device): Promise<void> {
  const inputs = new Inputs(device);
  for (const file of readdirSync(FAMILIES).sort()) {
    const { default: family } = (await import(new URL(file, FAMILIES).href)) as { default: Family };
    for (const channels of [40, 13]) scope(() => family.everyWidth?.(inputs, channels));
    scope(() => family.once?.(inputs));
    await device.synchronize();
  }
  inputs.random.dispose();
}
