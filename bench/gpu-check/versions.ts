import { spawnSync } from 'node:child_process';
import { openDevice } from '../../lib/index.js';
import { describeMachine, inspectMachine } from '../support/machine.js';
import type { GpuCheckArguments } from './arguments.js';
import { root } from './child.js';
import { verbatim } from './report.js';

/** The commit that is checked out, and whether it has been changed. */
export function commit(): string {
  const hash = output('git', ['rev-parse', 'HEAD']);
  if (!hash) return 'unknown (no git repository)';
  return output('git', ['status', '--porcelain', '--untracked-files=no']) ? `${hash}, with changes` : hash;
}

/**
 * What the report is about, in Markdown: the GPU and the libraries as the device itself names them, the machine, the
 * commit.
 *
 * @throws KalmanNormError where the device can't be opened
 */
export function describeVersions(options: GpuCheckArguments): string {
  using device = openDevice(options.device);
  const machine = inspectMachine(device, { benchmark: false });
  const flags = [`--device ${options.device}`, options.small ? '--small' : '', `--only ${options.only.join(',')}`];
  const lines = [
    `- ${describeMachine(machine).replaceAll('\n', '\n- ')}`,
    `- Commit ${commit()}`,
    `- ${machine.time}, \`npm run gpu:check -- ${flags.filter(Boolean).join(' ')}\``,
  ];
  if (options.small) lines.push('- **Tiny sizes (`--small`): the figures mean nothing.**');
  const gpu = options.device.startsWith('cuda:') ? graphicsState() : '';
  return `${lines.join('\n')}\n${gpu && `\n${verbatim(gpu)}`}`;
}

/** Clocks, power and who else uses the GPUs; nothing where there is no nvidia-smi. */
function graphicsState(): string {
  const fields =
    'index,name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,utilization.gpu';
  const processes = output('nvidia-smi', ['--query-compute-apps=pid,used_memory', '--format=csv']);
  return `${output('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv'])}\n${processes}`.trim();
}

function output(command: string, args: readonly string[]): string {
  const { status, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}
