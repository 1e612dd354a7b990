import { hasEmulation } from '../../lib/cuda.js';
import { type Figures, openDevice, processGroupProblem } from '../../lib/index.js';
import { groupTests, launch, linesOf } from './launched.js';

interface Evaluated {
  rank: number;
  together: Figures;
  alone: Figures;
  kept: boolean;
  stopped: number;
}

const emulation = hasEmulation()
  ? processGroupProblem({ device: openDevice('cuda-emulated') })
  : 'the emulated device is not built';

// Last batches of 5 and of 1 image: not all processes have a part of them; a set of 3, of which some have none at all.
for (const { processes, images, device, problem } of [
  { processes: 2, images: 37, device: 'cpu', problem: processGroupProblem() },
  { processes: 4, images: 33, device: 'cpu', problem: processGroupProblem() },
  { processes: 4, images: 3, device: 'cpu', problem: processGroupProblem() },
  { processes: 2, images: 17, device: 'cuda-emulated', problem: emulation },
]) {
  groupTests(problem)(`${processes} processes evaluate ${images} images as rank 0 alone does: ${device}`, async (t) => {
    const { code, output } = await launch(processes, ['test/distributed/evaluation-worker.ts', String(images), device]);
    t.is(code, 0, output);
    const results = (linesOf(output) as Evaluated[]).sort((a, b) => a.rank - b.rank);
    t.is(results.length, processes);
    const { alone, together } = results[0] as Evaluated;
    t.is(together.steps, Math.ceil(images / 16));
    t.is(together.error, alone.error);
    t.true(Math.abs(together.loss / alone.loss - 1) < 1e-6, `${together.loss} and ${alone.loss}`);
    for (const { rank, together: other, kept, stopped } of results) {
      t.deepEqual([other.steps, other.loss, other.error], [together.steps, together.loss, together.error]);
      t.true(kept, `rank ${rank} has other averages than before`);
      t.is(stopped, 0, 'what rank 1 has stopped has stopped everywhere');
    }
    // Without that the test would show nothing: each process has averages of its own.
    t.not(results[1]?.alone.loss, alone.loss);
  });
}
