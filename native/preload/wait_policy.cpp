#include <node_api.h>
#include <stdlib.h>

/// Loaded before the addon, whose libgomp reads this once, when it is loaded: spinning threads slow everything else on
/// shared cores 3 to 10 times. A worker's process.env is a copy that no library sees.
NAPI_MODULE_INIT() {
  (void)env;
  setenv("OMP_WAIT_POLICY", "passive", 0);
  return exports;
}
