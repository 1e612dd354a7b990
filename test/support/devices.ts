import type { ExecutionContext, TestFn } from 'ava';
import { hasEmulation } from '../../lib/cuda.js';
import { cudaProblem, type Device, openDevice } from '../../lib/index.js';
import { SEED, TestRandom } from './random.js';

/**
 * The devices that every op test runs on: the CPU, the emulated CUDA device where it is built, the first GPU where there
 * is one. KN_TEST_DEVICES (names, separated by commas) narrows them down.
 */
const kinds = [
  { name: 'cpu', label: 'cpu, 1 thread', open: () => openDevice('cpu', { threads: 1 }), present: () => true },
  { name: 'cpu', label: 'cpu, 2 threads', open: () => openDevice('cpu', { threads: 2 }), present: () => true },
  { name: 'cuda-emulated', label: 'cuda-emulated', open: () => openDevice('cuda-emulated'), present: hasEmulation },
  { name: 'cuda:0', label: 'cuda:0', open: () => openDevice('cuda:0'), present: () => cudaProblem() === null },
].filter(({ name, present }) => wanted(name) && present());

function wanted(name: string): boolean {
  const names = process.env.KN_TEST_DEVICES?.split(',');
  return names === undefined || names.includes(name);
}

/** The names of the devices that are tested here. */
export const deviceNames = [...new Set(kinds.map(({ name }) => name))];

const opened = new Map<string, Device>();

export type DeviceBody = (t: ExecutionContext, device: Device, random: TestRandom) => Promise<void> | void;

/**
 * Defines a test for each device. The tests of a file share the devices; where memory is counted, a test opens its own.
 */
export function eachDevice(test: TestFn, title: string, body: DeviceBody): void {
  for (const { label, open } of kinds) {
    test(`${title} [${label}]`, async (t) => {
      const device = opened.get(label) ?? open();
      opened.set(label, device);
      await seeded(t, title, (random) => body(t, device, random));
    });
  }
}

/** Runs a body with random numbers; says how to repeat it where it fails. */
export async function seeded(
  t: ExecutionContext,
  title: string,
  body: (random: TestRandom) => Promise<void> | void,
): Promise<void> {
  try {
    await body(new TestRandom(title));
  } catch (error) {
    t.log(`to repeat: KN_TEST_SEED=${SEED}`);
    throw error;
  }
}
