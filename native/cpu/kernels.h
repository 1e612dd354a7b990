#pragma once
#include "../core/ops.h"

/// The CPU's kernels: one overload of `run` a launch, in the file of its op family. They run on the executor thread.
namespace kn::cpu {

void run(const op::Fill&);
void run(const op::Copy&);
void run(const op::Transfer&);
void run(const op::Add&);
void run(const op::Scale&);
void run(const op::Relu&);
void run(const op::ReluBackward&);
void run(const op::Sigmoid&);
void run(const op::SigmoidBackward&);
void run(const op::Advance&);
void run(const op::Append&);

class ConvCache;
void run(const op::Conv2d&, ConvCache&);
void run(const op::Conv2dBackwardData&, ConvCache&);
void run(const op::Conv2dBackwardWeights&, ConvCache&);
void run(const op::Linear&);
void run(const op::LinearBackward&);

void run(const op::AvgPool&);
void run(const op::AvgPoolBackward&);
void run(const op::GlobalAvgPool&);
void run(const op::GlobalAvgPoolBackward&);
void run(const op::PadChannels&);
void run(const op::PadChannelsBackward&);
void run(const op::PadBelief&);
void run(const op::PadBeliefBackward&);

void run(const op::Moments&);
void run(const op::MomentsBackward&);
void run(const op::AddMoments&);
void run(const op::Normalize&);
void run(const op::NormalizeBackward&);
void run(const op::BatchNorm&);
void run(const op::BatchNormBackward&);
void run(const op::GroupNorm&);
void run(const op::GroupNormBackward&);
void run(const op::RunningUpdate&);
void run(const op::KalmanUpdate&);
void run(const op::KalmanUpdateBackward&);
void run(const op::SamplePrior&);
void run(const op::SamplePriorBackward&);

void run(const op::Transition&);
void run(const op::TransitionBackward&);

void run(const op::SoftmaxCrossEntropy&);
void run(const op::CheckFinite&);
void run(const op::UpdateLossScale&);
void run(const op::Sgd&);
void run(const op::Gather&);

}  // namespace kn::cpu
