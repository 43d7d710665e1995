// Device memory that mirrors a piece of shared memory, and the handle that other processes open it by.
//
// The host's side is pinned where the system allows, so that rows which the CPU rendered go over at full
// speed. Memory: owns the device's side, borrows the host's. Thread rule: as DeviceRegion: any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

#include "device_state.h"
#include "floodgate/device.h"

namespace floodgate::cuda {

class MirrorRegion final : public DeviceRegion {
 public:
  // Errors: kUnavailable, kOverloaded (no memory). REQUIRES: the device is in use.
  static Result<std::shared_ptr<MirrorRegion>> create(std::shared_ptr<DeviceState> state,
                                                      std::span<std::uint8_t> host);
  ~MirrorRegion() override;
  MirrorRegion(const MirrorRegion&) = delete;
  MirrorRegion& operator=(const MirrorRegion&) = delete;

  [[nodiscard]] bool valid() const override { return !spoilt_ && !state_->lost(); }
  [[nodiscard]] int device() const override { return state_->ordinal(); }
  [[nodiscard]] std::uint8_t* address() const override { return memory_.data; }
  [[nodiscard]] std::span<const std::uint8_t> handle() const override { return memory_.handle; }
  void upload(std::size_t offset, std::size_t bytes) override;
  bool wait() override;

 private:
  MirrorRegion(std::shared_ptr<DeviceState> state, std::span<std::uint8_t> host)
      : state_(std::move(state)), host_(host) {}
  Status open();

  const std::shared_ptr<DeviceState> state_;
  const std::span<std::uint8_t> host_;
  ExportedMemory memory_;
  void* stream_ = nullptr;
  bool streaming_ = false;
  bool pinned_ = false;
  std::atomic<bool> spoilt_{false};
};

}  // namespace floodgate::cuda
