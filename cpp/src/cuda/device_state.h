// What all parts of one device share: the runtime, whether the device is lost, and what was counted.
//
// Thread rule: any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "error.h"
#include "floodgate/clock.h"
#include "floodgate/device.h"
#include "runtime.h"

namespace floodgate::cuda {

// Device memory whose handle was given away.
struct ExportedMemory {
  std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
  IpcHandle handle{};
};

class DeviceState {
 public:
  DeviceState(Runtime& runtime, int ordinal) : runtime_(runtime), ordinal_(ordinal) {}
  ~DeviceState();
  DeviceState(const DeviceState&) = delete;
  DeviceState& operator=(const DeviceState&) = delete;

  [[nodiscard]] Runtime& runtime() const { return runtime_; }
  [[nodiscard]] int ordinal() const { return ordinal_; }
  [[nodiscard]] bool lost() const { return lost_.load(std::memory_order_acquire); }

  // OK, or the error as a Status; one that ends the device ends it here.
  Status check(int error, const char* doing);
  // Gives the device up. Only the first reason is kept.
  void lose(const std::string& problem);

  // Memory that others may have open must not be freed before they close it, and nobody tells when they do.
  // So what comes back waits for the next region of its size, under the same handle, until the device is let
  // go.
  Result<ExportedMemory> take_exported(std::size_t bytes);
  void keep_exported(const ExportedMemory& memory);

  void count(DeviceFallback why, std::uint64_t times = 1) {
    fallbacks_[static_cast<std::size_t>(why)].fetch_add(times, std::memory_order_relaxed);
  }
  void count_batch(std::uint64_t pictures) {
    batches_.fetch_add(1, std::memory_order_relaxed);
    pictures_.fetch_add(pictures, std::memory_order_relaxed);
  }
  void count_busy(Nanos spent) {
    busy_ns_.fetch_add(static_cast<std::uint64_t>(spent), std::memory_order_relaxed);
  }
  void count_staged(std::uint64_t rows) { rows_staged_.fetch_add(rows, std::memory_order_relaxed); }
  [[nodiscard]] DeviceStats stats() const;

 private:
  Runtime& runtime_;
  const int ordinal_;
  std::atomic<bool> lost_{false};
  std::atomic<std::uint64_t> pictures_{0};
  std::atomic<std::uint64_t> batches_{0};
  std::atomic<std::uint64_t> busy_ns_{0};
  std::atomic<std::uint64_t> rows_staged_{0};
  std::array<std::atomic<std::uint64_t>, kDeviceFallbacks> fallbacks_{};

  mutable std::mutex mu_;
  // Guarded by mu_.
  std::string problem_;
  std::vector<ExportedMemory> spare_;
};

}  // namespace floodgate::cuda
