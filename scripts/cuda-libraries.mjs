/** `npm run cuda:libraries`: cuDNN and cuBLAS as Python wheels, in the package's cache, where nothing else offers them. */

import { ensureLibraries } from './cuda-toolkit.mjs';
import { runScript } from './setup.mjs';

await runScript(ensureLibraries);
