#include <node_api.h>
#include <stdlib.h>

#include <vector>

namespace {

/// The builds of the addon that this processor can run, the fastest first. This file is compiled for any processor.
std::vector<const char*> builds() {
#if defined(__x86_64__)
  std::vector<const char*> names;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.push_back("kalman_norm.node");
  if (__builtin_cpu_supports("sse4.1")) names.push_back("kalman_norm_sse41.node");
  return names;
#else
  return {"kalman_norm.node"};
#endif
}

}  // namespace

/// Loaded before the addon, for what must be known or set by then. Exports `builds`, names of files.
NAPI_MODULE_INIT() {
  // libgomp reads this once, when it is loaded: spinning threads slow everything else on shared cores 3 to 10 times. A
  // worker's process.env is a copy that no library sees.
  setenv("OMP_WAIT_POLICY", "passive", 0);

  napi_value list = nullptr;
  napi_create_array(env, &list);
  uint32_t length = 0;
  for (const char* name : builds()) {
    napi_value text = nullptr;
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, list, length++, text);
  }
  napi_set_named_property(env, exports, "builds", list);
  return exports;
}
