#include "device_state.h"

#include <algorithm>

namespace floodgate {

const char* fallback_name(DeviceFallback fallback) {
  switch (fallback) {
    case DeviceFallback::kRefused:
      return "refused";
    case DeviceFallback::kTooLarge:
      return "too_large";
    case DeviceFallback::kNoMemory:
      return "no_memory";
    case DeviceFallback::kLost:
      return "lost";
  }
  return "lost";
}

}  // namespace floodgate

namespace floodgate::cuda {

Status DeviceState::check(int error, const char* doing) {
  if (error == kSuccess) return {};
  Status status = status_of(runtime_, error, doing);
  if (ends_device(error)) lose(status.message());
  return status;
}

void DeviceState::lose(const std::string& problem) {
  const std::lock_guard lock(mu_);
  if (lost_.load(std::memory_order_relaxed)) return;
  problem_ = problem;
  lost_.store(true, std::memory_order_release);
}

DeviceState::~DeviceState() {
  if (!spare_.empty()) (void)runtime_.use(ordinal_);
  for (const ExportedMemory& memory : spare_) (void)runtime_.release(memory.data);
}

Result<ExportedMemory> DeviceState::take_exported(std::size_t bytes) {
  {
    const std::lock_guard lock(mu_);
    const auto found = std::ranges::find(spare_, bytes, &ExportedMemory::bytes);
    if (found != spare_.end()) {
      const ExportedMemory memory = *found;
      spare_.erase(found);
      return memory;
    }
  }
  void* data = nullptr;
  if (Status got = check(runtime_.allocate(&data, bytes), "allocating a batch buffer"); !got.ok()) return got;
  ExportedMemory memory{static_cast<std::uint8_t*>(data), bytes, {}};
  if (Status got = check(runtime_.share(data, memory.handle), "sharing a batch buffer"); !got.ok()) {
    (void)runtime_.release(data);
    return got;
  }
  return memory;
}

void DeviceState::keep_exported(const ExportedMemory& memory) {
  const std::lock_guard lock(mu_);
  spare_.push_back(memory);
}

DeviceStats DeviceState::stats() const {
  DeviceStats stats;
  stats.lost = lost();
  {
    const std::lock_guard lock(mu_);
    stats.problem = problem_;
  }
  stats.pictures = pictures_.load(std::memory_order_relaxed);
  stats.batches = batches_.load(std::memory_order_relaxed);
  stats.busy_ns = busy_ns_.load(std::memory_order_relaxed);
  stats.rows_staged = rows_staged_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kDeviceFallbacks; ++i) {
    stats.fallbacks[i] = fallbacks_[i].load(std::memory_order_relaxed);
  }
  return stats;
}

}  // namespace floodgate::cuda
