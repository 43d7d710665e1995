// Memory of a device and pinned memory of the host, owned.
//
// Each is one piece that grows when asked for more and keeps what it has; growing forgets what lay in it.
// Memory: owned, released with the object. Thread rule: one thread. REQUIRES: the device is in use on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "device_state.h"

namespace floodgate::cuda {

enum class MemoryPlace : std::uint8_t { kDevice, kPinned };

template <MemoryPlace kPlace>
class Memory {
 public:
  explicit Memory(DeviceState& state) : state_(state) {}
  ~Memory() { release(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // At least `bytes` of it. Errors: as DeviceState::check; nothing is held then.
  Status reserve(std::size_t bytes) {
    if (bytes <= bytes_) return {};
    release();
    void* memory = nullptr;
    Runtime& runtime = state_.runtime();
    const int error = kPlace == MemoryPlace::kDevice ? runtime.allocate(&memory, bytes)
                                                     : runtime.allocate_pinned(&memory, bytes);
    if (error != kSuccess) return state_.check(error, "allocating memory");
    data_ = static_cast<std::uint8_t*>(memory);
    bytes_ = bytes;
    return {};
  }

  [[nodiscard]] std::uint8_t* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return bytes_; }

 private:
  void release() {
    if (data_ == nullptr) return;
    Runtime& runtime = state_.runtime();
    (void)(kPlace == MemoryPlace::kDevice ? runtime.release(data_) : runtime.release_pinned(data_));
    data_ = nullptr;
    bytes_ = 0;
  }

  DeviceState& state_;
  std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
};

using DeviceMemory = Memory<MemoryPlace::kDevice>;
using PinnedMemory = Memory<MemoryPlace::kPinned>;

// A stream of the device, owned.
class Stream {
 public:
  explicit Stream(DeviceState& state) : state_(state) {}
  ~Stream() {
    if (open_) (void)state_.runtime().close_stream(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Status open() {
    const int error = state_.runtime().open_stream(&stream_);
    open_ = error == kSuccess;
    return state_.check(error, "opening a stream");
  }
  [[nodiscard]] void* get() const { return stream_; }

 private:
  DeviceState& state_;
  void* stream_ = nullptr;
  bool open_ = false;
};

}  // namespace floodgate::cuda
