import { parseArgs } from 'node:util';
import { refusal, refusing } from '../support/arguments.js';

/** What can be chosen with `--only`, in the order in which it runs: what finds most faults in the least time comes first. */
export const parts = ['tests', 'sanitizer', 'recording', 'golden', 'experiments', 'bench', 'torch'] as const;
export type Part = (typeof parts)[number];

/** Command line of `npm run gpu:check`. */
export interface GpuCheckArguments {
  /** `cuda:N`, or `cuda-emulated`. */
  device: string;
  /** Tiny sizes: shows only that everything runs. */
  small: boolean;
  /** File for the report. */
  report: string;
  /** Folder of the recorded vectors; null for the usual one, which may be missing. */
  golden: string | null;
  /** Interpreter that may have PyTorch. */
  python: string;
  only: readonly Part[];
  /** Minutes that all of it may take. */
  minutes: number;
  /** Keep what an earlier run on the same commit and device has found. */
  resume: boolean;
}

/** The text of `npm run gpu:check -- --help`. */
export const usage = `npm run gpu:check -- [flags]
Runs the tests, the golden vectors and the benches on a GPU, and writes all of it into one report.
  --device NAME     cuda:N (default cuda:0), or cuda-emulated
  --small           tiny sizes and some of the tests: shows that this script runs, the figures mean nothing
  --report FILE     default gpu-report.md
  --golden DIR      recorded vectors; default ../shared/golden, if that is there
  --python PYTHON   interpreter for the comparison with PyTorch; default KN_PEER_PYTHON or python3
  --only PARTS      some of ${parts.join(',')}; default: all, in this order
  --minutes N       ends after this time; default 10
  --resume          goes on with a report that isn't finished, of the same commit and device; what failed is repeated
  -h, --help        this text
Beside the report lies the same as JSON. Nothing is uploaded.`;

/**
 * Reads the command line of `npm run gpu:check`.
 *
 * @param environment for a default: KN_PEER_PYTHON
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags, parts and devices
 */
export function parseGpuCheckArguments(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
): GpuCheckArguments | null {
  const { values } = refusing(() =>
    parseArgs({
      args: [...args],
      options: {
        device: { type: 'string' },
        small: { type: 'boolean' },
        report: { type: 'string' },
        golden: { type: 'string' },
        python: { type: 'string' },
        only: { type: 'string' },
        minutes: { type: 'string' },
        resume: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) return null;
  const { device = 'cuda:0', report = 'gpu-report.md', golden = null, only = parts.join(',') } = values;
  if (!/^cuda(:\d+|-emulated)$/.test(device))
    throw refusal(`--device: expected cuda:N or cuda-emulated, got "${device}"`);
  const minutes = Number(values.minutes ?? 10);
  if (!(minutes > 0)) throw refusal(`--minutes: expected a number above 0, got "${values.minutes}"`);
  if (!report.endsWith('.md')) throw refusal(`--report: expected a file that ends in .md, got "${report}"`);
  const named = only.split(',');
  const unknown = named.find((name) => !parts.some((part) => part === name));
  if (unknown !== undefined) throw refusal(`--only: expected some of ${parts.join(',')}, got "${unknown}"`);
  return {
    device,
    small: values.small === true,
    report,
    golden,
    python: values.python ?? environment.KN_PEER_PYTHON ?? 'python3',
    only: parts.filter((part) => named.includes(part)),
    minutes,
    resume: values.resume === true,
  };
}
