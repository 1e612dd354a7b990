#include "operations.h"

#include <algorithm>

namespace kn::emulation::dnn {
namespace {

DType typeOf(cudnnDataType_t type) {
  return type == CUDNN_DATA_HALF ? DType::F16 : type == CUDNN_DATA_BFLOAT16 ? DType::BF16 : DType::F32;
}

TensorOf tensorOf(const Descriptor& operation, cudnnBackendAttributeName_t name) {
  return TensorOf(partOf(operation, name, CUDNN_BACKEND_TENSOR_DESCRIPTOR));
}

struct ConvolutionNames {
  cuda::Direction direction;
  cudnnBackendAttributeName_t x, w, y, shape, alpha, beta;
};

ConvolutionNames namesOf(cudnnBackendDescriptorType_t type) {
  switch (type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return {cuda::Direction::Forward,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return {cuda::Direction::BackwardData,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    default:
      return {cuda::Direction::BackwardWeights,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
}

int64_t outputSize(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t stride, int64_t dilation) {
  return (size + before + after - (kernel - 1) * dilation - 1) / stride + 1;
}

Operation convolutionOf(const Descriptor& descriptor) {
  const ConvolutionNames names = namesOf(descriptor.type);
  const TensorOf x = tensorOf(descriptor, names.x), w = tensorOf(descriptor, names.w),
                 y = tensorOf(descriptor, names.y);
  const Descriptor& shape = partOf(descriptor, names.shape, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const auto pair = [&](cudnnBackendAttributeName_t name) { return valuesOf<int64_t>(shape, name); };
  const auto before = pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), after = pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
  const auto strides = pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), dilations = pair(CUDNN_ATTR_CONVOLUTION_DILATIONS);
  const auto areAtLeast = [](const std::vector<int64_t>& values, int64_t least) {
    return std::all_of(values.begin(), values.end(), [least](int64_t value) { return value >= least; });
  };
  demand(valueOf<int64_t>(shape, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) == 2, "two dimensions are played");
  demand(valueOf<cudnnDataType_t>(shape, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) == CUDNN_DATA_FLOAT, "sums aren't float32");
  demand(valueOf<cudnnConvolutionMode_t>(shape, CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CROSS_CORRELATION,
         "the filter is flipped");
  demand(areAtLeast(before, 0) && areAtLeast(after, 0) && areAtLeast(strides, 1) && areAtLeast(dilations, 1),
         "padding, strides or dilations out of range");
  demand(valueOf<float>(descriptor, names.alpha) == 1 && valueOf<float>(descriptor, names.beta) == 0,
         "another scale than 1, or a sum");
  demand(x.type == w.type && x.type == y.type, "tensors of several types");
  demand(x.c % w.c == 0 && y.c == w.n && w.n % (x.c / w.c) == 0, "channels of image and filter don't fit");
  demand(x.n == y.n && y.h == outputSize(x.h, before[0], after[0], w.h, strides[0], dilations[0]) &&
             y.w == outputSize(x.w, before[1], after[1], w.w, strides[1], dilations[1]),
         "the output has another size");

  cuda::Convolution problem{names.direction, typeOf(x.type), false, x.n, x.c, x.h, x.w, w.n, w.h, w.w, y.h, y.w, {}};
  problem.shape.strideH = strides[0], problem.shape.strideW = strides[1];
  problem.shape.top = before[0], problem.shape.left = before[1];
  problem.shape.bottom = after[0], problem.shape.right = after[1];
  problem.shape.dilationH = dilations[0], problem.shape.dilationW = dilations[1];
  problem.shape.groups = x.c / w.c;
  const auto run = [problem, x = x.id, w = w.id, y = y.id](const Places& at) {
    switch (problem.direction) {
      case cuda::Direction::Forward: return convolve(problem, at(x), at(w), at(y));
      case cuda::Direction::BackwardData: return convolve(problem, at(y), at(w), at(x));
      case cuda::Direction::BackwardWeights: return convolve(problem, at(x), at(y), at(w));
    }
  };
  return {{x, w, y}, true, run};
}

/// cuDNN has normalizations for 16 bytes of channels or a multiple alone, at addresses that are multiples of 16.
bool normalizable(const std::vector<TensorOf>& activations) {
  return std::all_of(activations.begin(), activations.end(), [](const TensorOf& tensor) {
    return tensor.c * static_cast<int64_t>(tensor.elementBytes()) % 16 == 0 && tensor.alignment % 16 == 0;
  });
}

void demandNorm(const Descriptor& descriptor, cudnnBackendAttributeName_t mode,
                const std::vector<TensorOf>& activations, const std::vector<TensorOf>& vectors) {
  demand(valueOf<cudnnBackendNormMode_t>(descriptor, mode) == CUDNN_BATCH_NORM, "batch normalization is played");
  const TensorOf& x = activations.front();
  for (const TensorOf& one : activations) demand(one.sameSizes(x) && one.type == x.type, "activations differ");
  for (const TensorOf& one : vectors) {
    demand(one.type == CUDNN_DATA_FLOAT && one.n == 1 && one.c == x.c && one.h == 1 && one.w == 1,
           "a vector isn't one float32 a channel");
  }
}

Operation normOf(const Descriptor& descriptor) {
  const auto tensor = [&](cudnnBackendAttributeName_t name) { return tensorOf(descriptor, name); };
  const TensorOf x = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC), y = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC);
  const TensorOf gamma = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC),
                 beta = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC),
                 mean = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC),
                 rstd = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC),
                 epsilon = tensor(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC);
  demandNorm(descriptor, CUDNN_ATTR_OPERATION_NORM_FWD_MODE, {x, y}, {gamma, beta, mean, rstd});
  demand(
      valueOf<cudnnBackendNormFwdPhase_t>(descriptor, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE) == CUDNN_NORM_FWD_TRAINING,
      "the phase of training is played");
  demand(epsilon.byValue && epsilon.type == CUDNN_DATA_FLOAT, "epsilon is no float32 on the host");
  const cuda::DnnBatchNorm problem{typeOf(x.type), x.n, x.c, x.h, x.w};
  const auto run = [=, x = x.id, y = y.id, gamma = gamma.id, beta = beta.id, mean = mean.id, rstd = rstd.id,
                    epsilon = epsilon.id](const Places& at) {
    const auto vector = [&](int64_t id) { return static_cast<float*>(at(id)); };
    batchNorm(problem, *vector(epsilon), {at(x), vector(gamma), vector(beta), at(y), vector(mean), vector(rstd)});
  };
  return {{x, y, gamma, beta, mean, rstd, epsilon}, normalizable({x, y}), run};
}

Operation normBackwardOf(const Descriptor& descriptor) {
  const auto tensor = [&](cudnnBackendAttributeName_t name) { return tensorOf(descriptor, name); };
  const TensorOf x = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC), dy = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC),
                 dx = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC);
  const TensorOf gamma = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC),
                 mean = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC),
                 rstd = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC),
                 dgamma = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC),
                 dbeta = tensor(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC);
  demandNorm(descriptor, CUDNN_ATTR_OPERATION_NORM_BWD_MODE, {x, dy, dx}, {gamma, mean, rstd, dgamma, dbeta});
  const cuda::DnnBatchNorm problem{typeOf(x.type), x.n, x.c, x.h, x.w};
  const auto run = [=, x = x.id, dy = dy.id, dx = dx.id, gamma = gamma.id, mean = mean.id, rstd = rstd.id,
                    dgamma = dgamma.id, dbeta = dbeta.id](const Places& at) {
    const auto vector = [&](int64_t id) { return static_cast<float*>(at(id)); };
    batchNormBackward(
        problem, {at(x), at(dy), vector(gamma), vector(mean), vector(rstd), at(dx), vector(dgamma), vector(dbeta)});
  };
  return {{x, dy, dx, gamma, mean, rstd, dgamma, dbeta}, normalizable({x, dy, dx}), run};
}

}  // namespace

Operation operationOf(const Descriptor& descriptor) {
  switch (descriptor.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR: return convolutionOf(descriptor);
    case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR: return normOf(descriptor);
    case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR: return normBackwardOf(descriptor);
    default: throw Refusal(CUDNN_STATUS_NOT_SUPPORTED, "an operation that isn't played");
  }
}

}  // namespace kn::emulation::dnn
