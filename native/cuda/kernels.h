#pragma once
#include "context.h"

/// The device's launches: one overload of `run` each, in the file of its op family. They enqueue and return.
namespace kn::cuda {

void run(const op::Fill&, Context&);
void run(const op::Copy&, Context&);
/// Between memory of the device on both sides.
void run(const op::Transfer&, Context&);
void run(const op::Add&, Context&);
void run(const op::Scale&, Context&);
void run(const op::Relu&, Context&);
void run(const op::ReluBackward&, Context&);
void run(const op::Sigmoid&, Context&);
void run(const op::SigmoidBackward&, Context&);
void run(const op::Advance&, Context&);
void run(const op::Append&, Context&);

void run(const op::Conv2d&, Context&);
void run(const op::Conv2dBackwardData&, Context&);
void run(const op::Conv2dBackwardWeights&, Context&);
void run(const op::Linear&, Context&);
void run(const op::LinearBackward&, Context&);

void run(const op::AvgPool&, Context&);
void run(const op::AvgPoolBackward&, Context&);
void run(const op::GlobalAvgPool&, Context&);
void run(const op::GlobalAvgPoolBackward&, Context&);
void run(const op::PadChannels&, Context&);
void run(const op::PadChannelsBackward&, Context&);
void run(const op::PadBelief&, Context&);
void run(const op::PadBeliefBackward&, Context&);

void run(const op::Moments&, Context&);
void run(const op::MomentsBackward&, Context&);
void run(const op::AddMoments&, Context&);
void run(const op::Normalize&, Context&);
void run(const op::NormalizeBackward&, Context&);
void run(const op::BatchNorm&, Context&);
void run(const op::BatchNormBackward&, Context&);
void run(const op::DnnBatchNorm&, Context&);
void run(const op::DnnBatchNormBackward&, Context&);
void run(const op::GroupNorm&, Context&);
void run(const op::GroupNormBackward&, Context&);
void run(const op::RunningUpdate&, Context&);
void run(const op::KalmanUpdate&, Context&);
void run(const op::KalmanUpdateBackward&, Context&);
void run(const op::SamplePrior&, Context&);
void run(const op::SamplePriorBackward&, Context&);

void run(const op::Transition&, Context&);
void run(const op::TransitionBackward&, Context&);

void run(const op::SoftmaxCrossEntropy&, Context&);
void run(const op::CheckFinite&, Context&);
void run(const op::UpdateLossScale&, Context&);
void run(const op::Sgd&, Context&);
void run(const op::Gather&, Context&);

}  // namespace kn::cuda
