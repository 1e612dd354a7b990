#include "functions.h"

/// Bindings of loss.cpp, sgd.cpp and gather.cpp.
namespace kn::addon {

template <>
SgdTensors convert(const Argument& a) {
  return {a.get<Tensor>("weight"), a.get<Tensor>("gradient"), a.get<Tensor>("momentum"), a.get<double>("weightDecay")};
}

template <>
std::vector<SgdTensors> convert(const Argument& a) {
  if (!a.value.IsArray()) a.fail("an array");
  std::vector<SgdTensors> parameters(a.value.As<Napi::Array>().Length());
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i] = a.at<SgdTensors>(static_cast<uint32_t>(i));
  return parameters;
}

template <>
std::vector<Tensor> convert(const Argument& a) {
  if (!a.value.IsArray()) a.fail("an array of tensors");
  std::vector<Tensor> tensors(a.value.As<Napi::Array>().Length());
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i] = a.at<Tensor>(static_cast<uint32_t>(i));
  return tensors;
}

template <>
GatherInput convert(const Argument& a) {
  GatherInput input;
  input.images = a.get<Tensor>("images");
  input.labels = a.get<Tensor>("labels");
  input.mean = a.get<Tensor>("mean");
  input.indices = a.get<Tensor>("indices");
  input.cursor = a.get<Tensor>("cursor");
  input.batch = a.get<int64_t>("batch");
  input.pad = a.get<int64_t>("pad");
  input.scale = a.get<double>("scale");
  input.augment = a.get<bool>("augment");
  input.random = a.get<RandomSource>("random", Presence::Optional);
  return input;
}

Napi::Value toJs(Call& call, const LossResult& r) {
  return object(call, {{"loss", r.loss}, {"errors", r.errors}, {"dlogits", r.dlogits}});
}

Napi::Value toJs(Call& call, const Batch& batch) {
  return object(call, {{"images", batch.images}, {"labels", batch.labels}});
}

const Bindings& trainingFunctions() {
  static const Bindings table{
      bind<&softmaxCrossEntropy>("softmaxCrossEntropy", "logits", "labels"),
      bind<&sgd>("sgd", "parameters", "learningRate", "momentum", "lossScale?"),
      bind<&checkFinite>("checkFinite", "gradients", "lossScale"),
      bind<&updateLossScale>("updateLossScale", "lossScale", "growth", "backoff", "interval"),
      bind<&gather>("gather", "input"),
  };
  return table;
}

}  // namespace kn::addon
