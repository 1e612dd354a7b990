#pragma once
#include "binding.h"

/// The tables of the addon's functions; adding an operation adds a line to one of them.
namespace kn::addon {

const Bindings& memoryFunctions();
const Bindings& layerFunctions();
const Bindings& normalizationFunctions();
const Bindings& kalmanFunctions();
const Bindings& trainingFunctions();

}  // namespace kn::addon
