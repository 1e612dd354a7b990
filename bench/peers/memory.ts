/** Child process of our-memory.ts: makes some training steps and sends the memory that they took. */

import { openDevice } from '../../lib/index.js';
import { TrainingStep } from '../support/training-step.js';
import type { MemoryTask, MemoryUse } from './our-memory.js';
import { processMemory } from './process-memory.js';

const task = JSON.parse(process.argv[2] as string) as MemoryTask;
const device = openDevice(task.device, { threads: task.threads, precision: task.precision });
const { now: baseline } = await processMemory();
const step = new TrainingStep(device, task);
await step.run(3);
const { peak } = await processMemory();
const tensors = device.memoryStats().peakInUse + (step.programMemory?.reserved ?? 0);
step.dispose();
device.dispose();
process.send?.({ baseline, peak, tensors } satisfies MemoryUse);
