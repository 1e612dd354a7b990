/** For `npm run check:asan`: loads the sanitized build of an addon wherever a process or worker asks for the other one. */

const { basename, join } = require('node:path');

const { dlopen } = process;
process.dlopen = function (module, path, ...rest) {
  const name = basename(path);
  const ours = name.startsWith('kalman_norm') && process.env.KN_SANITIZED_ADDON;
  return dlopen.call(this, module, ours ? join(process.env.KN_SANITIZED_ADDON, name) : path, ...rest);
};
