#include "dnn_plans.h"

#include <algorithm>
#include <sstream>
#include <tuple>
#include <utility>

#include "plan_key.h"

namespace kn::cuda::dnn {
namespace {

/// How many of cuDNN's proposals are timed.
constexpr size_t kCandidates = 8;

cudnnDataType_t dataType(DType type) {
  switch (type) {
    case DType::F16: return CUDNN_DATA_HALF;
    case DType::BF16: return CUDNN_DATA_BFLOAT16;
    default: return CUDNN_DATA_FLOAT;
  }
}

const char* directionName(Direction direction) {
  switch (direction) {
    case Direction::Forward: return "convolution";
    case Direction::BackwardData: return "convolution's gradient of the data";
    case Direction::BackwardWeights: return "convolution's gradient of the weights";
  }
  return "";
}

std::string nameOf(const Convolution& o) {
  std::ostringstream name;
  name << "the " << (o.type == DType::F32 && o.tf32 ? "TF32" : dtypeName(o.type)) << ' ' << directionName(o.direction)
       << ": x [" << o.n << ", " << o.c << ", " << o.h << ", " << o.w << "], filter [" << o.k << ", "
       << o.c / o.shape.groups << ", " << o.r << ", " << o.s << "], y [" << o.n << ", " << o.k << ", " << o.p << ", "
       << o.q << "], stride [" << o.shape.strideH << ", " << o.shape.strideW << "], padding [" << o.shape.top << ", "
       << o.shape.left << ", " << o.shape.bottom << ", " << o.shape.right << "], dilation [" << o.shape.dilationH
       << ", " << o.shape.dilationW << "], groups " << o.shape.groups;
  return name.str();
}

std::string nameOf(const DnnBatchNorm& o, bool backward) {
  std::ostringstream name;
  name << "the " << dtypeName(o.type) << " batch normalization" << (backward ? "'s gradient" : "") << ": x [" << o.n
       << ", " << o.c << ", " << o.h << ", " << o.w << ']';
  return name.str();
}

/// The padding behind the last value. Where the padding in front gives the same result it is that: cuDNN has fewer
/// engines for padding that is not symmetric.
int64_t paddingAfter(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t out) {
  if ((size + 2 * before - kernel) / stride + 1 == out) return before;
  return std::max<int64_t>(0, (out - 1) * stride + kernel - size - before);
}

Descriptor& convolutionShape(Graph& graph, const Convolution& o) {
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const auto& shape = o.shape;
  const std::array<int64_t, 2> strides = {shape.strideH, shape.strideW}, dilations = {shape.dilationH, shape.dilationW},
                               before = {shape.top, shape.left},
                               after = {paddingAfter(o.h, shape.spanH(o.r), shape.strideH, shape.top, o.p),
                                        paddingAfter(o.w, shape.spanW(o.s), shape.strideW, shape.left, o.q)};
  return graph.keep(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode)
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, before)
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, after)
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, strides)
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, dilations)
      .finalize();
}

/// What the operation of a direction and its attributes are called.
struct ConvolutionNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t a, b, out, shape, alpha, beta;
};
constexpr ConvolutionNames kConvolutionNames[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

}  // namespace

Graph convolutionGraph(const Convolution& o, int64_t alignment) {
  Graph graph(nameOf(o));
  const Sizes x = {o.n, o.c, o.h, o.w}, w = {o.k, o.c / o.shape.groups, o.r, o.s}, y = {o.n, o.k, o.p, o.q};
  const auto tensor = [&](int64_t id, const Sizes& sizes) -> const Descriptor& {
    return graph.tensor(id, dataType(o.type), sizes, alignment);
  };
  const ConvolutionNames& names = kConvolutionNames[static_cast<size_t>(o.direction)];
  const auto [a, b, out] = o.direction == Direction::Forward        ? std::tuple(x, w, y)
                           : o.direction == Direction::BackwardData ? std::tuple(y, w, x)
                                                                    : std::tuple(x, y, w);
  Descriptor operation(names.type);
  operation.set(names.a, tensor(id::A, a))
      .set(names.b, tensor(id::B, b))
      .set(names.out, tensor(id::Out, out))
      .set(names.shape, convolutionShape(graph, o))
      .set(names.alpha, 1.0f)
      .set(names.beta, 0.0f);
  graph.add(std::move(operation));
  return graph;
}

Graph batchNormGraph(const DnnBatchNorm& o, bool backward) {
  Graph graph(nameOf(o, backward));
  const cudnnBackendNormMode_t mode = CUDNN_BATCH_NORM;
  const auto activation = [&](int64_t id) -> const Descriptor& {
    return graph.tensor(id, dataType(o.type), {o.n, o.c, o.h, o.w});
  };
  const auto vector = [&](int64_t id) -> const Descriptor& {
    return graph.tensor(id, CUDNN_DATA_FLOAT, {1, o.c, 1, 1});
  };
  if (backward) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &mode)
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, activation(id::X))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, activation(id::Dy))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, vector(id::Gamma))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, vector(id::Mean))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, vector(id::Rstd))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, activation(id::Dx))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, vector(id::Dgamma))
        .set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, vector(id::Dbeta));
    graph.add(std::move(operation));
    return graph;
  }
  const cudnnBackendNormFwdPhase_t phase = CUDNN_NORM_FWD_TRAINING;
  Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &mode)
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, &phase)
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, activation(id::X))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, vector(id::Gamma))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, vector(id::Beta))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, graph.value(id::Epsilon))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, activation(id::Y))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, vector(id::Mean))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, vector(id::Rstd));
  graph.add(std::move(operation));
  return graph;
}

// --- plans ----------------------------------------------------------------------------------------------------------

size_t Plans::Hash::operator()(const Key<Convolution>& key) const {
  const auto& o = key.problem;
  const auto& s = o.shape;
  return hashOf(key.variant, o.direction, o.type, o.tf32, o.n, o.c, o.h, o.w, o.k, o.r, o.s, o.p, o.q, s.strideH,
                s.strideW, s.top, s.left, s.bottom, s.right, s.dilationH, s.dilationW, s.groups);
}

size_t Plans::Hash::operator()(const Key<DnnBatchNorm>& key) const {
  const auto& o = key.problem;
  return hashOf(key.variant, o.type, o.n, o.c, o.h, o.w);
}

Plans::Choice::Choice(More more, size_t limit, const Timer& timer) : more_(std::move(more)) {
  std::vector<std::pair<float, Plan>> timed;
  for (Plan& plan : more_(limit, 0)) timed.emplace_back(timer ? timer(plan) : 0.0f, std::move(plan));
  std::stable_sort(timed.begin(), timed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [time, plan] : timed) plans_.push_back(std::move(plan));
}

bool Plans::Choice::next() {
  if (current_ + 1 == plans_.size()) {
    try {
      plans_.push_back(std::move(more_(1, plans_.size()).front()));
    } catch (const Error&) {
      return false;  // cuDNN has no more
    }
  }
  ++current_;
  return true;
}

Plans::Choice& Plans::convolution(const Convolution& problem, int64_t alignment, const Timer& timer) {
  const Key<Convolution> key{problem, alignment};
  if (const auto known = convolutions_.find(key); known != convolutions_.end()) return known->second;
  const Rules rules{problem.type != DType::F32 || problem.tf32, deterministic_};
  const auto more = [this, problem, alignment, rules](size_t limit, size_t first) {
    return convolutionGraph(problem, alignment).plans(target_, rules, limit, first);
  };
  return convolutions_.emplace(key, Choice(more, timer ? kCandidates : 1, timer)).first->second;
}

Plans::Choice& Plans::batchNorm(const DnnBatchNorm& problem, bool backward) {
  const Key<DnnBatchNorm> key{problem, backward};
  if (const auto known = batchNorms_.find(key); known != batchNorms_.end()) return known->second;
  const auto more = [this, problem, backward](size_t limit, size_t first) {
    return batchNormGraph(problem, backward).plans(target_, {true, deterministic_}, limit, first);
  };
  return batchNorms_.emplace(key, Choice(more, 1, nullptr)).first->second;
}

}  // namespace kn::cuda::dnn
