#include "functions.h"

/// Bindings of conv2d.cpp, linear.cpp and pool.cpp.
namespace kn::addon {
Napi::Value toJs(Call& call, const LinearGradients& g) {
  return object(call, {{"dx", g.dx}, {"dw", g.dw}, {"db", g.db}});
}

const Bindings& layerFunctions() {
  static const Bindings table{
      bind<&conv2d>("conv2d", "x", "w", "shape"),
      bind<&conv2dBackwardData>("conv2dBackwardData", "dy", "w", "x", "shape"),
      bind<&conv2dBackwardWeights>("conv2dBackwardWeights", "x", "dy", "w", "shape"),
      bind<&linear>("linear", "x", "w", "b?"),
      bind<&linearBackward>("linearBackward", "x", "w", "dy", "needDx", "bias"),

      bind<&avgPool>("avgPool", "x", "size"),
      bind<&avgPoolBackward>("avgPoolBackward", "dy", "x", "size", "extraSamples"),
      bind<&globalAvgPool>("globalAvgPool", "x"),
      bind<&globalAvgPoolBackward>("globalAvgPoolBackward", "dy", "x", "extraSamples"),
      bind<&padChannels>("padChannels", "x", "before", "after"),
      bind<&padChannelsBackward>("padChannelsBackward", "dy", "x", "before"),
      bind<&padBelief>("padBelief", "x", "splits", "before", "after", "aligned"),
      bind<&padBeliefBackward>("padBeliefBackward", "dy", "x", "splits", "before", "after", "aligned"),
  };
  return table;
}

}  // namespace kn::addon
