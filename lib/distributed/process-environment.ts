import { checkObjects } from '../arguments.js';
import { check } from '../errors.js';

/** Which process of how many this one is. */
export interface ProcessPlace {
  /** From 0. */
  rank: number;
  size: number;
}

/** Names of rank and size in the environment, by launcher; the first that is there counts. */
const LAUNCHERS = [
  { launcher: 'kalman-norm launch', rank: 'KALMAN_NORM_RANK', size: 'KALMAN_NORM_PROCESSES' },
  { launcher: 'torchrun', rank: 'RANK', size: 'WORLD_SIZE' },
  { launcher: 'Open MPI', rank: 'OMPI_COMM_WORLD_RANK', size: 'OMPI_COMM_WORLD_SIZE' },
  { launcher: 'PMI', rank: 'PMI_RANK', size: 'PMI_SIZE' },
  // srun's; sbatch's own script has SLURM_PROCID 0 and no step.
  { launcher: 'Slurm', rank: 'SLURM_PROCID', size: 'SLURM_STEP_NUM_TASKS' },
] as const;

/**
 * The place that a launcher gave this process, by environment variables: `npx kalman-norm launch`, torchrun, Open MPI's
 * `mpirun`, PMI's (MPICH, Intel MPI) or Slurm's `srun`.
 *
 * @returns null where there was none
 * @throws KalmanNormError `INVALID_ARGUMENT` where rank and size are no whole numbers, don't fit, or one is missing
 */
export function processPlace(environment: NodeJS.ProcessEnv = process.env): ProcessPlace | null {
  checkObjects('processPlace', { environment });
  for (const { launcher, rank, size } of LAUNCHERS) {
    const [own, all] = [environment[rank], environment[size]];
    if (own === undefined && all === undefined) continue;
    const numbers = [own, all].every((text) => text !== undefined && /^\d+$/.test(text));
    check(
      numbers && Number(own) < Number(all),
      'INVALID_ARGUMENT',
      `${launcher}: expected a whole ${rank} below ${size}, got ${own ?? 'none'} and ${all ?? 'none'}`,
    );
    return { rank: Number(own), size: Number(all) };
  }
  return null;
}
