#include "conv_cache.h"

#include <array>
#include <cstdlib>
#include <optional>
#include <string>

#include "kernels.h"
#include "layout.h"
#include "convolution/in_place.h"
#include "convolution/lowered.h"
#include "convolution/winograd.h"

namespace kn::cpu {
namespace {

using Kind = ConvProblem::Kind;
using Tag = dnnl::memory::format_tag;
using Desc = dnnl::memory::desc;

constexpr size_t kAlignment = 64;

Desc describeMemory(const dnnl::memory::dims& sizes, Tag tag) { return {sizes, dnnl::memory::data_type::f32, tag}; }

/// Where an activation lies. With one channel NHWC is NCHW, and oneDNN has better code for the latter.
Tag imageTag(int64_t channels, Format format) {
  if (format == Format::Plain || channels == 1) return Tag::nchw;
  return blocked(channels) ? Tag::nChw8c : Tag::nhwc;
}

Tag filterTag(int64_t out, int64_t in) {
  switch (filterLayout(out, in)) {
    case FilterLayout::OIhw8i8o: return Tag::OIhw8i8o;
    case FilterLayout::Ohwi8o: return Tag::Ohwi8o;
    case FilterLayout::Oihw: return Tag::oihw;
  }
  return Tag::oihw;
}

dnnl::memory::dims filterSizes(const ConvProblem& p) {
  const int64_t groups = p.shape.groups;
  if (groups == 1) return {p.out, p.c, p.kernelH, p.kernelW};
  return {groups, p.out / groups, p.c / groups, p.kernelH, p.kernelW};
}

/// Where a filter lies. With groups it is given row-major: the device's layouts may have blocks across them.
Desc describeFilter(const ConvProblem& p) {
  return describeMemory(filterSizes(p), p.shape.groups == 1 ? filterTag(p.out, p.c) : Tag::goihw);
}

/// A compiled convolution, with the layouts it wants of its three operands.
struct Compiled {
  dnnl::primitive primitive;
  std::string implementation;
  Desc source, weights, destination;

  bool isReference() const { return implementation.rfind("ref", 0) == 0; }
};

/// Compiles for activations in the layouts of the given tags (`any` leaves the choice to oneDNN) and weights in
/// whatever layout is fastest. Throws dnnl::error where oneDNN has no code for them.
Compiled compile(const ConvProblem& p, const dnnl::engine& engine, Tag sourceTag, Tag destinationTag) {
  const Desc source = describeMemory({p.n, p.c, p.h, p.w}, sourceTag);
  const Desc weights = describeMemory(filterSizes(p), Tag::any);
  const Desc destination = describeMemory({p.n, p.out, p.outH, p.outW}, destinationTag);
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const dnnl::memory::dims strides{p.shape.strideH, p.shape.strideW};
  const dnnl::memory::dims dilations{p.shape.dilationH - 1, p.shape.dilationW - 1};
  const dnnl::memory::dims before{p.shape.top, p.shape.left}, after{p.shape.bottom, p.shape.right};

  const Desc bias = p.biased ? describeMemory({p.out}, Tag::x) : Desc();
  const dnnl::convolution_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, algorithm, source, weights, bias, destination, strides, dilations, before,
       after},
      engine);
  switch (p.kind) {
    case Kind::Forward:
      return {dnnl::convolution_forward(forward), forward.impl_info_str(), forward.src_desc(), forward.weights_desc(),
              forward.dst_desc()};
    case Kind::BackwardData: {
      const dnnl::convolution_backward_data::primitive_desc backward(
          {algorithm, source, weights, destination, strides, dilations, before, after}, engine, forward);
      return {dnnl::convolution_backward_data(backward), backward.impl_info_str(), backward.diff_src_desc(),
              backward.weights_desc(), backward.diff_dst_desc()};
    }
    case Kind::BackwardWeights: {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          {algorithm, source, weights, destination, strides, dilations, before, after}, engine, forward);
      return {dnnl::convolution_backward_weights(backward), backward.impl_info_str(), backward.src_desc(),
              backward.diff_weights_desc(), backward.diff_dst_desc()};
    }
  }
  throw Error(ErrorCode::DeviceFailed, "conv2d: unknown kind");
}

/// Blocked activations are used in place where oneDNN has good code for that, and reordered where it hasn't.
Compiled compileBest(const ConvProblem& p, const dnnl::engine& engine, Tag source, Tag destination) {
  std::optional<Compiled> inPlace;
  try {
    inPlace = compile(p, engine, source == Tag::nChw8c ? source : Tag::any,
                      destination == Tag::nChw8c ? destination : Tag::any);
    if (!inPlace->isReference()) return *inPlace;
  } catch (const dnnl::error&) {
    // The layouts of oneDNN's own choice are tried next.
  }
  Compiled reordered = compile(p, engine, Tag::any, Tag::any);
  return inPlace && reordered.isReference() ? *inPlace : reordered;
}

size_t alignedSize(const Desc& desc) { return (desc.get_size() + kAlignment - 1) / kAlignment * kAlignment; }

/// Memory in the device's layout and, where the convolution wants another one, its copy in the scratch buffer.
struct Operand {
  Operand(const Desc& device, const Desc& wanted, bool written, const dnnl::engine& engine)
      : stored(device, engine, nullptr), used(stored) {
    if (device == wanted) return;
    used = dnnl::memory(wanted, engine, nullptr);
    reorder = written ? dnnl::reorder(used, stored) : dnnl::reorder(stored, used);
  }
  bool reordered() const { return static_cast<bool>(reorder); }

  dnnl::memory stored, used;
  dnnl::reorder reorder;
  size_t offset = 0;  ///< of the copy in the scratch buffer
};

std::string textOf(const ConvProblem& p) {
  std::ostringstream text;
  text << "x [" << p.n << ", " << p.c << ", " << p.h << ", " << p.w << "], filter [" << p.out << ", "
       << p.c / p.shape.groups << ", " << p.kernelH << ", " << p.kernelW << "], stride [" << p.shape.strideH << ", "
       << p.shape.strideW << "], padding [" << p.shape.top << ", " << p.shape.left << ", " << p.shape.bottom << ", "
       << p.shape.right << "], dilation [" << p.shape.dilationH << ", " << p.shape.dilationW << "], groups "
       << p.shape.groups;
  return text.str();
}

ConvProblem problemOf(Kind kind, const op::Act& x, const op::Filter& w, const op::Act& y, const op::ConvShape& shape) {
  ConvProblem p{kind, x.format, x.n, x.c, x.h, x.w, y.c, y.h, y.w, w.h, w.w, shape};
  // Padding that no window touches: problems that differ only in it are the same.
  p.shape.bottom = (y.h - 1) * shape.strideH + shape.spanH(w.h) - x.h - shape.top;
  p.shape.right = (y.w - 1) * shape.strideW + shape.spanW(w.w) - x.w - shape.left;
  return p;
}

}  // namespace

struct ConvCache::Plan {
  Plan(const ConvProblem& p, const dnnl::engine& engine)
      : Plan(p, engine, imageTag(p.c, p.source), imageTag(p.out, Format::Activation)) {}

  Plan(const ConvProblem& p, const dnnl::engine& engine, Tag sourceTag, Tag destinationTag)
      : compiled(compileBest(p, engine, sourceTag, destinationTag)),
        operands{Operand(describeMemory({p.n, p.c, p.h, p.w}, sourceTag), compiled.source, p.kind == Kind::BackwardData,
                         engine),
                 Operand(describeFilter(p), compiled.weights, p.kind == Kind::BackwardWeights, engine),
                 Operand(describeMemory({p.n, p.out, p.outH, p.outW}, destinationTag), compiled.destination,
                         p.kind == Kind::Forward, engine)},
        written(p.kind == Kind::BackwardData      ? 0
                : p.kind == Kind::BackwardWeights ? 1
                                                  : 2) {
    constexpr int names[3][3] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                 {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
                                 {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    for (int i = 0; i < 3; ++i) {
      arguments.emplace(names[static_cast<int>(p.kind)][i], operands[i].used);
      if (!operands[i].reordered()) continue;
      operands[i].offset = scratchBytes;
      scratchBytes += alignedSize(operands[i].used.get_desc());
    }
    if (p.biased) {
      arguments.emplace(DNNL_ARG_BIAS, dnnl::memory(describeMemory({p.out}, Tag::x), engine, nullptr));
    }
  }

  Compiled compiled;
  std::array<Operand, 3> operands;  // source, weights, destination
  int written;
  size_t scratchBytes = 0;
  std::unordered_map<int, dnnl::memory> arguments;
};

ConvCache::ConvCache() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), scratch_(nullptr, std::free) {}

ConvCache::~ConvCache() = default;

size_t ConvCache::Hash::operator()(const ConvProblem& p) const {
  size_t hash = (static_cast<size_t>(p.kind) * 2 + (p.source == Format::Plain)) * 2 + p.biased;
  for (int64_t value :
       {p.n, p.c, p.h, p.w, p.out, p.outH, p.outW, p.kernelH, p.kernelW, p.shape.strideH, p.shape.strideW, p.shape.top,
        p.shape.left, p.shape.dilationH, p.shape.dilationW, p.shape.groups}) {
    hash = (hash ^ static_cast<size_t>(value)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

ConvCache::Plan& ConvCache::plan(const ConvProblem& problem) {
  if (const auto found = index_.find(problem); found != index_.end()) {
    plans_.splice(plans_.begin(), plans_, found->second);
    return *found->second->second;
  }
  if (plans_.size() == kCapacity) {
    index_.erase(plans_.back().first);
    plans_.pop_back();
  }
  plans_.emplace_front(problem, std::make_unique<Plan>(problem, engine_));
  index_.emplace(problem, plans_.begin());
  return *plans_.front().second;
}

void ConvCache::run(const ConvProblem& problem, const float* source, const float* weights, const float* destination,
                    const float* bias) {
  try {
    Plan& plan = this->plan(problem);
    if (plan.scratchBytes > scratchBytes_) {
      scratch_.reset();
      scratchBytes_ = 0;
      scratch_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, plan.scratchBytes)));
      require(scratch_ != nullptr, ErrorCode::OutOfMemory, "conv2d: no room for ", plan.scratchBytes,
              " bytes of reordered operands");
      scratchBytes_ = plan.scratchBytes;
    }
    const float* data[3] = {source, weights, destination};
    for (int i = 0; i < 3; ++i) {
      Operand& operand = plan.operands[i];
      operand.stored.set_data_handle(const_cast<float*>(data[i]));
      if (!operand.reordered()) continue;
      // oneDNN zeroes the padding of a layout here: other problems use the same buffer.
      operand.used.set_data_handle(scratch_.get() + operand.offset);
      if (i != plan.written) operand.reorder.execute(stream_, operand.stored, operand.used);
    }
    if (problem.biased) plan.arguments.at(DNNL_ARG_BIAS).set_data_handle(const_cast<float*>(bias));
    plan.compiled.primitive.execute(stream_, plan.arguments);
    Operand& result = plan.operands[plan.written];
    if (result.reordered()) result.reorder.execute(stream_, result.used, result.stored);
    stream_.wait();
  } catch (const dnnl::error& error) {
    throw Error(ErrorCode::DeviceFailed, "oneDNN: " + std::string(error.message) + ", status " +
                                             std::to_string(error.status) + ", for " + textOf(problem));
  }
}

namespace {

/// A filter's values in the order in which oneDNN gets them.
class FilterValues {
 public:
  FilterValues(const op::Filter& filter, const op::ConvShape& shape)
      : filter_(filter), rowMajor_(shape.groups == 1 ? 0 : filter.count()) {}

  float* data() { return rowMajor_.empty() ? filter_.data : rowMajor_.data(); }
  void read(Context& context) { move(false, context); }
  void write(Context& context) { move(true, context); }

 private:
  void move(bool upload, Context& context) {
    if (!rowMajor_.empty()) cpu::run({{}, filter_, Format::Filter, rowMajor_.data(), upload, true}, context);
  }

  op::Filter filter_;
  std::vector<float> rowMajor_;
};

}  // namespace

void run(const op::Conv2d& o, Context& context) {
  const bool byTiles = winogradFits(o.x, o.w, o.shape) && winogradPays(o.w), byPatches = loweredPays(o.x, o.w, o.shape);
  if ((byTiles || byPatches) && inPlacePays(o.w, o.y)) return inPlaceForward(o);
  if (byTiles) return winogradForward(o);
  if (byPatches) return loweredForward(o);
  FilterValues filter(o.w, o.shape);
  filter.read(context);
  ConvProblem problem = problemOf(Kind::Forward, o.x, o.w, o.y, o.shape);
  problem.biased = o.bias != nullptr;
  context.convolutions.run(problem, o.x.values(), filter.data(), o.y.values(), o.bias);
  // Not by oneDNN: its ReLU makes 0 of NaN.
  if (o.relu) {
    const op::Values values{o.y.data, o.y.count()};
    run(op::Relu{values, values}, context);
  }
}

void run(const op::Conv2dBackwardData& o, Context& context) {
  const bool byTiles = winogradFits(o.dx, o.w, o.shape) && winogradPays(o.w);
  const bool byPatches = loweredPays(o.dx, o.w, o.shape);
  if ((byTiles || byPatches) && inPlacePays(o.w, o.dy)) return inPlaceBackwardData(o);
  if (byTiles) return winogradBackwardData(o);
  if (byPatches) return loweredBackwardData(o);
  FilterValues filter(o.w, o.shape);
  filter.read(context);
  context.convolutions.run(problemOf(Kind::BackwardData, o.dx, o.w, o.dy, o.shape), o.dx.values(), filter.data(),
                           o.dy.values());
}

void run(const op::Conv2dBackwardWeights& o, Context& context) {
  const bool byTiles = winogradFits(o.x, o.dw, o.shape), byPatches = loweredPays(o.x, o.dw, o.shape);
  if ((byTiles || byPatches) && inPlacePays(o.dw, o.dy)) return inPlaceBackwardWeights(o);
  if (byTiles) return winogradBackwardWeights(o);
  if (byPatches) return loweredBackwardWeights(o);
  FilterValues filter(o.dw, o.shape);
  context.convolutions.run(problemOf(Kind::BackwardWeights, o.x, o.dw, o.dy, o.shape), o.x.values(), filter.data(),
                           o.dy.values());
  filter.write(context);
}

}  // namespace kn::cpu
