# Sets KN_CORE_FINGERPRINT. The CUDA device is a shared library of its own; objects of the core's classes cross the border
# between it and the addon, so both must be built from the same headers, and each carries their hash to prove it.
file(GLOB KN_CORE_HEADERS CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.h ${CMAKE_CURRENT_LIST_DIR}/*/*.h
     ${CMAKE_CURRENT_LIST_DIR}/../cuda/runtime/cuda_device.h)
set(KN_CORE_FINGERPRINT "")
foreach(header ${KN_CORE_HEADERS})
  file(SHA256 ${header} hash)
  string(APPEND KN_CORE_FINGERPRINT ${hash})
endforeach()
string(SHA256 KN_CORE_FINGERPRINT "${KN_CORE_FINGERPRINT}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${KN_CORE_HEADERS})
