#include "sgd.h"

#include "checks.h"
#include "loss_scale.h"

namespace kn {

void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum,
         const Tensor& lossScale) {
  checkFloat(learningRate, {"sgd", "learningRate"});
  Device& device = learningRate.device();
  op::Sgd step{{},
               vector(device, learningRate, 1, {"sgd", "learningRate"}),
               fraction(momentum, {"sgd", "momentum"}),
               optionalVector(device, lossScale, kLossScaleState, {"sgd", "lossScale"})};
  for (const SgdTensors& p : parameters) {
    for (const auto& [tensor, name] : {std::pair{&p.weight, "weight"}, std::pair{&p.gradient, "gradient"},
                                       std::pair{&p.momentum, "momentum buffer"}}) {
      checkFloat(*tensor, {"sgd", name});
      checkDevice(device, *tensor, {"sgd", name});
      checkShape(*tensor, p.weight.shape, {"sgd", name});
      require(tensor->format == p.weight.format, ErrorCode::InvalidArgument, "sgd: ", name, " must have the ",
              formatName(p.weight.format), " format, got ", formatName(tensor->format));
    }
    require(std::isfinite(p.weightDecay) && p.weightDecay >= 0, ErrorCode::InvalidArgument,
            "sgd: weightDecay must not be negative, got ", p.weightDecay);
    step.parameters.push_back({p.weight.data(), p.momentum.data(), p.gradient.data(),
                               device.physicalCount(p.weight.shape, p.weight.format),
                               static_cast<float>(p.weightDecay)});
  }
  device.launch(step);
}

}  // namespace kn
