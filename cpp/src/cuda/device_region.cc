#include "device_region.h"

namespace floodgate::cuda {

Result<std::shared_ptr<MirrorRegion>> MirrorRegion::create(std::shared_ptr<DeviceState> state,
                                                           std::span<std::uint8_t> host) {
  std::shared_ptr<MirrorRegion> region(new MirrorRegion(std::move(state), host));
  if (Status opened = region->open(); !opened.ok()) return opened;
  return region;
}

Status MirrorRegion::open() {
  Runtime& runtime = state_->runtime();
  auto memory = state_->take_exported(host_.size());
  if (!memory.ok()) return memory.status();
  memory_ = memory.value();
  const int opened = runtime.open_stream(&stream_);
  streaming_ = opened == kSuccess;
  if (Status got = state_->check(opened, "opening a stream"); !got.ok()) return got;
  // A limit on locked memory makes copies slower, not wrong.
  pinned_ = runtime.pin(host_.data(), host_.size()) == kSuccess;
  return {};
}

MirrorRegion::~MirrorRegion() {
  Runtime& runtime = state_->runtime();
  (void)runtime.use(state_->ordinal());
  if (pinned_) (void)runtime.unpin(host_.data());
  if (streaming_) (void)runtime.close_stream(stream_);
  if (memory_.data != nullptr) state_->keep_exported(memory_);
}

void MirrorRegion::upload(std::size_t offset, std::size_t bytes) {
  if (!valid()) return;
  Runtime& runtime = state_->runtime();
  int error = runtime.use(state_->ordinal());
  if (error == kSuccess) error = runtime.copy(memory_.data + offset, host_.data() + offset, bytes, stream_);
  if (!state_->check(error, "copying a row to the device").ok()) spoilt_ = true;
}

bool MirrorRegion::wait() {
  if (!valid()) return false;
  Runtime& runtime = state_->runtime();
  int error = runtime.use(state_->ordinal());
  if (error == kSuccess) error = runtime.wait(stream_);
  if (!state_->check(error, "waiting for rows").ok()) spoilt_ = true;
  return valid();
}

}  // namespace floodgate::cuda
