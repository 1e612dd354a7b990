#pragma once
#include "../core/ops/batch_norm.h"
#include "convert.h"

/// What the normalizations have in common.
namespace kn::addon {

inline Napi::Value toJs(Call& call, const NormResult& r) {
  return object(call, {{"y", r.y}, {"mean", r.moments.mean}, {"var", r.moments.var}});
}

inline Napi::Value toJs(Call& call, const NormGradients& g) {
  return object(call, {{"dx", g.dx}, {"dgamma", g.dgamma}, {"dbeta", g.dbeta}});
}

}  // namespace kn::addon
