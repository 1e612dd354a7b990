import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runScript } from './child.js';
import type { CheckContext } from './context.js';
import { assessCounts } from './counts.js';

export const recordingTitle = 'Recorded steps, warm and cold';
export const sanitizerTitle = 'compute-sanitizer';

const program = 'bench/gpu-check/recorded-steps.ts';

/** Whether replayed steps are those that JavaScript enqueues, also where the first step of all is recorded. */
export async function checkRecording({ options, report, say }: CheckContext): Promise<void> {
  await report.set(recordingTitle, { status: 'running' });
  const outcome = await runScript(program, [options.device], {
    minutes: 5,
    // The emulated device forbids what CUDA allows to a cold recording, unless it is told.
    environment: { KN_EMULATION_STRICT: '0' },
    onLine: (line) => line.startsWith('FAIL') && say(`  ${line}`),
  });
  await report.set(recordingTitle, assessCounts(outcome));
}

/** Small steps under compute-sanitizer's check of memory, where the toolkit is there. */
export async function checkSanitizer({ options, report }: CheckContext): Promise<void> {
  const { CUDA_HOME = '/usr/local/cuda', PATH = '' } = process.env;
  const folders = [...PATH.split(delimiter), join(CUDA_HOME, 'bin')];
  const tool = folders.map((folder) => join(folder, 'compute-sanitizer')).find((path) => existsSync(path));
  if (!tool || !options.device.startsWith('cuda:')) {
    const summary = tool
      ? 'for GPUs; npm run cuda:sanitize is for this device'
      : 'it is neither on PATH nor in CUDA_HOME';
    return report.set(sanitizerTitle, { status: 'skipped', summary });
  }
  await report.set(sanitizerTitle, { status: 'running' });
  const outcome = await runScript(program, [options.device, 'eager'], {
    minutes: 5,
    through: [tool, '--tool', 'memcheck', '--error-exitcode', '9'],
  });
  await report.set(sanitizerTitle, assessCounts(outcome));
}
