#include "../../core/ops/loss.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const LossResult& r) {
  return object(call, {{"loss", r.loss}, {"errors", r.errors}, {"dlogits", r.dlogits}});
}

namespace {

const Functions functions{
    bind<&crossEntropy>("crossEntropy", "logits", "labels", "smoothing", "weights?", "ignoreIndex?"),
};

}  // namespace
}  // namespace kn::addon
