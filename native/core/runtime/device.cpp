#include "device.h"

#include <utility>

namespace kn {

Device::Device(std::shared_ptr<MemorySource> source, size_t memoryLimit)
    : allocator_(std::make_shared<Allocator>(std::move(source), memoryLimit)) {}

Tensor Device::empty(const Shape& shape, DType dtype, Format format, int64_t virtualSamples) {
  require(virtualSamples >= 0 && (virtualSamples == 0 || shape.rank() > 0), ErrorCode::InvalidArgument,
          "empty: expected room for a number of samples, got ", virtualSamples, " for shape ", shape.str());
  int64_t elements = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    require(shape[i] >= 1, ErrorCode::InvalidArgument, "shape: expected sizes of at least 1, got ", shape.str());
    require(!__builtin_mul_overflow(elements, shape[i], &elements) && elements < (int64_t{1} << 48),
            ErrorCode::OutOfMemory, "shape: ", shape.str(), " has too many elements");
  }
  int64_t count = dtype == DType::F32 ? physicalCount(shape, format) : elements;
  if (virtualSamples) count += virtualSamples * (count / shape[0]);
  const bool activation = dtype == DType::F32 && format == Format::Activation && shape.rank() == 4;
  Tensor tensor;
  tensor.stored = activation ? activationType() : dtype;
  tensor.storage = allocate(static_cast<size_t>(count) * dtypeSize(tensor.stored), shape.str());
  tensor.shape = shape;
  tensor.dtype = dtype;
  tensor.format = format;
  tensor.virtualSamples = virtualSamples;
  return tensor;
}

Tensor Device::overwritable(const Tensor& tensor) {
  // A recording may need no more than a step by itself, which knows no work beside it.
  const size_t bytes = static_cast<size_t>(physicalCount(tensor.shape, tensor.format)) * dtypeSize(tensor.stored);
  if (!isContended(tensor.data<void>(), bytes) || !recordingPool_->hasIdle(bytes)) return tensor;
  return empty(tensor.shape, tensor.dtype, tensor.format);
}

Tensor Device::emptyRounded(const Tensor& filter) {
  Tensor tensor = filter;
  tensor.stored = activationType();
  tensor.offset = 0;
  const auto count = static_cast<size_t>(physicalCount(filter.shape, filter.format));
  tensor.storage = allocate(count * dtypeSize(tensor.stored), filter.shape.str());
  return tensor;
}

void Device::addRounded(const Tensor& filter) {
  if (activationType() == DType::F32) return;
  const auto count = static_cast<size_t>(physicalCount(filter.shape, filter.format));
  filter.storage->rounded = allocate(count * dtypeSize(activationType()), "a filter's rounded values");
}

std::shared_ptr<Storage> Device::allocate(size_t bytes, const std::string& purpose) {
  auto& pool = recordingPool_ ? recordingPool_ : allocator_;
  void* data = pool->allocate(bytes);
  // While a step is recorded the stream can't be waited for.
  if (!data && !recording()) {
    trimMemory();
    data = pool->allocate(bytes);
    // What is found may be another device's, so it takes as many turns as there is something to be found.
    while (!data && reclaim_ && reclaim_()) {
      trimMemory();
      data = pool->allocate(bytes);
    }
  }
  if (!data) {
    checkHealth();  // a device that has failed gives no memory either
    const MemoryStats stats = pool->stats();
    // What is pooled in blocks of other sizes could only be given back by waiting.
    const char* remedy = recording() ? ". A recording can't have the pool trimmed: trim it before" : "";
    throw Error(ErrorCode::OutOfMemory, name() + ": no room for " + std::to_string(bytes) + " bytes (" + purpose +
                                            "); " + std::to_string(stats.inUse) + " bytes are in use" + remedy);
  }
  auto storage = std::make_shared<Storage>(this, pool, data, bytes);
  poison(data, bytes);
  return storage;
}

std::shared_ptr<void> Device::hostMemory(size_t bytes) {
  return {operator new(bytes), [](void* data) { operator delete(data); }};
}

void Device::trimMemory() {
  synchronize();
  allocator_->trim();
}

void Device::beginRecording() {
  require(!recording(), ErrorCode::InvalidState, "record: a recording is under way on this device");
  checkHealth();
  joinExchanges();  // here, as a recorded step can't wait for what isn't a part of it
  startRecording();
  recordingPool_ = std::make_shared<Allocator>(allocator_);
}

std::unique_ptr<Program> Device::endRecording() {
  require(recording(), ErrorCode::InvalidState, "record: no recording is under way");
  joinExchanges();
  return finishRecording(std::exchange(recordingPool_, nullptr), std::exchange(retained_, {}));
}

void Device::abandonRecording() {
  try {
    joinExchanges();
  } catch (const Error&) {
    // What went wrong has been thrown already.
  }
  exchanged_.clear();
  discardRecording();
  recordingPool_ = nullptr;
  retained_.clear();
}

void Device::replay(Program& program, int64_t count) {
  require(program.device == this, ErrorCode::DeviceMismatch, "replay: the program is another device's");
  require(count >= 0, ErrorCode::InvalidArgument, "replay: count must not be negative, got ", count);
  require(!recording(), ErrorCode::InvalidState, "replay: a program can't be replayed within a recording");
  joinExchanges();  // the program may have some of its own
  enqueueReplay(program, count);
}

void Device::launchForeign(const char* label, const std::function<void(void* stream)>&) {
  require(false, ErrorCode::InvalidArgument, label, ": needs a CUDA device, got ", name());
}

void Device::exchanging(const std::vector<Tensor>& tensors) {
  exchanged_.insert(exchanged_.end(), tensors.begin(), tensors.end());
}

void Device::joinExchanges() {
  if (exchanged_.empty()) return;
  enqueueJoin();
  for (const Tensor& tensor : std::exchange(exchanged_, {})) written(tensor);
}

void Device::retain(const Tensor& tensor) {
  if (recording() && tensor.storage->pool() != recordingPool_.get()) retained_.insert(tensor.storage);
}

}  // namespace kn
