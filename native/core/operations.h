#pragma once
#include "ops/adam.h"
#include "ops/adaptive_kalman.h"
#include "ops/average.h"
#include "ops/batch_norm.h"
#include "ops/broadcast.h"
#include "ops/clip.h"
#include "ops/conv2d.h"
#include "ops/counter.h"
#include "ops/elementwise.h"
#include "ops/gather.h"
#include "ops/group_norm.h"
#include "ops/kalman.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/loss_scale.h"
#include "ops/max_pool.h"
#include "ops/memory.h"
#include "ops/moments.h"
#include "ops/observed_variance.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "ops/predict.h"
#include "ops/reduce.h"
#include "ops/sgd.h"
#include "ops/weight_standardize.h"

/// The table of operations: X(struct in kn::op, name in profiles, records and messages), one row each. Every device's
/// interface and dispatch follow from it. A kernel of each device, `run`, belongs to every row.
#define KN_OPERATIONS(X)                                      \
  X(Fill, "fill")                                             \
  X(Copy, "copy")                                             \
  X(Advance, "advance")                                       \
  X(Append, "append")                                         \
  X(Add, "add")                                               \
  X(AddEach, "addEach")                                       \
  X(Scale, "scale")                                           \
  X(Relu, "relu")                                             \
  X(ReluBackward, "reluBackward")                             \
  X(Map, "map")                                               \
  X(MapBackward, "mapBackward")                               \
  X(Binary, "binary")                                         \
  X(Reduce, "reduce")                                         \
  X(Rearrange, "rearrange")                                   \
  X(Conv2d, "conv2d")                                         \
  X(Conv2dBackwardData, "conv2dBackwardData")                 \
  X(Conv2dBackwardWeights, "conv2dBackwardWeights")           \
  X(RoundFilter, "roundFilter")                               \
  X(Linear, "linear")                                         \
  X(LinearBackward, "linearBackward")                         \
  X(AvgPool2d, "avgPool2d")                                   \
  X(AvgPool2dBackward, "avgPool2dBackward")                   \
  X(GlobalAvgPool, "globalAvgPool")                           \
  X(GlobalAvgPoolBackward, "globalAvgPoolBackward")           \
  X(MaxPool2d, "maxPool2d")                                   \
  X(MaxPool2dBackward, "maxPool2dBackward")                   \
  X(PadChannels, "padChannels")                               \
  X(PadChannelsBackward, "padChannelsBackward")               \
  X(PadBelief, "padBelief")                                   \
  X(PadBeliefBackward, "padBeliefBackward")                   \
  X(Moments, "moments")                                       \
  X(MomentsBackward, "momentsBackward")                       \
  X(AddMoments, "addMoments")                                 \
  X(UpdateRunning, "updateRunning")                           \
  X(BatchNorm, "batchNorm")                                   \
  X(BatchNormBackward, "batchNormBackward")                   \
  X(DnnBatchNorm, "dnnBatchNorm")                             \
  X(DnnBatchNormBackward, "dnnBatchNormBackward")             \
  X(Normalize, "normalize")                                   \
  X(NormalizeBackward, "normalizeBackward")                   \
  X(GroupNorm, "groupNorm")                                   \
  X(GroupNormBackward, "groupNormBackward")                   \
  X(WeightStandardize, "weightStandardize")                   \
  X(WeightStandardizeBackward, "weightStandardizeBackward")   \
  X(KalmanNorm, "kalmanNorm")                                 \
  X(KalmanNormBackward, "kalmanNormBackward")                 \
  X(AdaptiveKalmanNorm, "adaptiveKalmanNorm")                 \
  X(AdaptiveKalmanNormBackward, "adaptiveKalmanNormBackward") \
  X(RectifyBelief, "rectifyBelief")                           \
  X(RectifyBeliefBackward, "rectifyBeliefBackward")           \
  X(SamplePrior, "samplePrior")                               \
  X(SamplePriorBackward, "samplePriorBackward")               \
  X(Predict, "predict")                                       \
  X(PredictBackward, "predictBackward")                       \
  X(CenterObserved, "centerObserved")                         \
  X(AverageObserved, "averageObserved")                       \
  X(ObservedVarianceBackward, "observedVarianceBackward")     \
  X(CrossEntropy, "crossEntropy")                             \
  X(CheckFinite, "checkFinite")                               \
  X(UpdateLossScale, "updateLossScale")                       \
  X(ClipNorm, "clipNorm")                                     \
  X(ClipValue, "clipValue")                                   \
  X(Sgd, "sgd")                                               \
  X(Adam, "adam")                                             \
  X(Average, "average")                                       \
  X(Gather, "gather")
