#include "../../core/ops/pad.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&padChannels>("padChannels", "x", "before", "after"),
    bind<&padChannelsBackward>("padChannelsBackward", "dy", "x", "before"),
    bind<&padBelief>("padBelief", "x", "splits", "before", "after", "aligned"),
    bind<&padBeliefBackward>("padBeliefBackward", "dy", "x", "splits", "before", "after", "aligned"),
};

}  // namespace
}  // namespace kn::addon
