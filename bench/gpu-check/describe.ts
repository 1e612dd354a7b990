/** Prints what `npm run gpu:check` with these flags is about: a process of its own, as its parent keeps no context. */

import { KalmanNormError } from '../../lib/index.js';
import { parseGpuCheckArguments } from './arguments.js';
import { describeVersions } from './versions.js';

try {
  const options = parseGpuCheckArguments(process.argv.slice(2));
  if (options) console.log(describeVersions(options));
} catch (error) {
  if (!(error instanceof KalmanNormError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
