#include "descriptors.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace kn::emulation::dnn {
namespace {

/// An attribute that a descriptor of a type may have.
struct Known {
  cudnnBackendDescriptorType_t descriptor;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  int64_t least, most;  ///< values
  bool needed = true;
};

// What the device sets, with types and counts of cuDNN's documentation.
constexpr auto kTensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
constexpr auto kShape = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
constexpr auto kForward = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
constexpr auto kData = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
constexpr auto kFilter = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
constexpr auto kNorm = CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR;
constexpr auto kNormBackward = CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR;
constexpr auto kGraph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR;
constexpr auto kHeuristic = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
constexpr auto kPlan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
constexpr auto kPack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
constexpr auto kPart = CUDNN_TYPE_BACKEND_DESCRIPTOR;
constexpr Known kAttributes[] = {
    {kTensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, 4},
    {kTensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, 4},
    {kTensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, 1, false},
    {kShape, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1},
    {kShape, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
    {kShape, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1},
    {kShape, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
    {kShape, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
    {kShape, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2},
    {kShape, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, kPart, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, kPart, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, kPart, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kPart, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, kPart, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, kPart, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, kPart, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, kPart, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, kPart, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, kPart, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, kPart, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, kPart, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, kPart, 1, 1},
    {kNorm, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, kPart, 1, 1},
    {kNormBackward, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, kPart, 1, 1},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_OPS, kPart, 1, 1},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, kPart, 1, 1},
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, kPart, 1, 1},
    {kPack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, 16},
    {kPack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, 16},
    {kPack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1},
};

size_t bytesOf(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    case CUDNN_TYPE_BOOLEAN: return 1;
    default: return 4;
  }
}

}  // namespace

Descriptor& descriptorOf(cudnnBackendDescriptor_t handle) {
  demand(handle != nullptr, "a descriptor is null", CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  return **static_cast<Handle*>(handle);
}

void setAttribute(Descriptor& descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  int64_t count, const void* data) {
  demand(!descriptor.finalized, "an attribute is set after the descriptor was finalized",
         CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  const auto* known = std::find_if(std::begin(kAttributes), std::end(kAttributes), [&](const Known& one) {
    return one.descriptor == descriptor.type && one.name == name;
  });
  const std::string which = "attribute " + std::to_string(name) + " of descriptor " + std::to_string(descriptor.type);
  demand(known != std::end(kAttributes), which + " is none that it has", CUDNN_STATUS_NOT_SUPPORTED);
  demand(known->type == type, which + " has another type");
  demand(count >= known->least && count <= known->most, which + " has another number of values");
  demand(data != nullptr, which + " is null", CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  const auto* bytes = static_cast<const std::byte*>(data);
  Attribute attribute{type, count, {bytes, bytes + bytesOf(type) * static_cast<size_t>(count)}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; ++i) {
      const cudnnBackendDescriptor_t part = static_cast<const cudnnBackendDescriptor_t*>(data)[i];
      demand(part != nullptr, which + " is null", CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
      attribute.parts.push_back(*static_cast<Handle*>(part));
    }
  }
  descriptor.attributes[name] = std::move(attribute);
}

void requireComplete(const Descriptor& descriptor) {
  for (const Known& known : kAttributes) {
    if (known.descriptor != descriptor.type || !known.needed) continue;
    demand(descriptor.attributes.contains(known.name), "attribute " + std::to_string(known.name) + " is missing");
  }
}

const Descriptor& partOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name) {
  const Descriptor& part = *descriptor.attributes.at(name).parts.at(0);
  demand(part.finalized, "attribute " + std::to_string(name) + " isn't finalized",
         CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  return part;
}

const Descriptor& partOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name,
                         cudnnBackendDescriptorType_t type) {
  const Descriptor& part = partOf(descriptor, name);
  demand(part.type == type, "attribute " + std::to_string(name) + " is a descriptor of another type");
  return part;
}

TensorOf::TensorOf(const Descriptor& descriptor)
    : id(valueOf<int64_t>(descriptor, CUDNN_ATTR_TENSOR_UNIQUE_ID)),
      alignment(valueOf<int64_t>(descriptor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)),
      type(valueOf<cudnnDataType_t>(descriptor, CUDNN_ATTR_TENSOR_DATA_TYPE)),
      byValue(!valuesOf<uint8_t>(descriptor, CUDNN_ATTR_TENSOR_IS_BY_VALUE).empty()) {
  const auto sizes = valuesOf<int64_t>(descriptor, CUDNN_ATTR_TENSOR_DIMENSIONS);
  const auto strides = valuesOf<int64_t>(descriptor, CUDNN_ATTR_TENSOR_STRIDES);
  n = sizes[0], c = sizes[1], h = sizes[2], w = sizes[3];
  demand(std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size > 0; }), "a size isn't positive");
  demand(strides == std::vector<int64_t>{h * w * c, 1, w * c, c}, "the strides aren't those of packed NHWC");
  demand(type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16, "another data type");
  demand(alignment > 0 && std::has_single_bit(static_cast<uint64_t>(alignment)) &&
             alignment >= static_cast<int64_t>(elementBytes()),
         "the alignment is no power of two that holds an element");
  demand(!byValue || count() == 1, "a value on the host has one element");
}

}  // namespace kn::emulation::dnn
