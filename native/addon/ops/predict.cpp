#include "../../core/ops/predict.h"

#include "../binding.h"
#include "observed_variance.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const PredictGradients& g) {
  return object(call, {{"dmean", g.dbelief.mean}, {"dvar", g.dbelief.var}, {"dw", g.dw}});
}

namespace {

const Functions functions{
    bind<&predict>("predict", "mean", "variance", "w", "splits", "height", "width", "shape", "population", "rectified"),
    bind<&predictBackward>("predictBackward", "mean", "variance", "w", "splits", "height", "width", "shape",
                           "population", "rectified", "dmean", "dvariance?", "slope?", "believed?", "average?"),
    bind<&rectifyBelief>("rectifyBelief", "mean", "variance"),
    bind<&rectifyBeliefBackward>("rectifyBeliefBackward", "mean", "variance", "dmean", "dvariance"),
    bind<&samplePrior>("samplePrior", "mean", "variance", "splits", "height", "width", "random?", "noise?"),
    bind<&samplePriorBackward>("samplePriorBackward", "mean", "variance", "y", "dy"),
};

}  // namespace
}  // namespace kn::addon
