// A named or anonymous piece of memory that other processes can map.
//
// A SharedRegion owns its mapping, its descriptor and its name; the destructor unmaps and unlinks. All pages
// are reserved at creation, so that a machine out of shared memory is an error here and not a SIGBUS in a
// decoder. A named region holds a shared flock for its life; sweep_stale_regions() removes those whose owner
// died without unlinking. Thread rule: immutable once shared; what lies inside is the user's to
// synchronise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "floodgate/device.h"
#include "floodgate/status.h"

namespace floodgate {

class SharedRegion {
 public:
  // memfd: reachable only through its descriptor, and of this size for ever. Errors: kInvalidArgument (no
  // bytes), kUnavailable (no memory).
  static Result<std::shared_ptr<SharedRegion>> anonymous(std::size_t bytes);
  // Such memory of another process: maps `bytes` of `fd`, which it then owns. Errors: kInvalidArgument
  // (shorter than that, or its owner could still shorten it, which would make reading it fatal),
  // kUnavailable.
  static Result<std::shared_ptr<SharedRegion>> adopt(int fd, std::size_t bytes);
  // POSIX shared memory under `key` ("/name"). Errors: as above, and kInvalidArgument when the key is taken.
  static Result<std::shared_ptr<SharedRegion>> named(std::string key, std::size_t bytes);

  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  [[nodiscard]] const std::string& key() const { return key_; }  // empty when anonymous
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::span<std::uint8_t> bytes() const { return {base_, size_}; }

  // Device memory that mirrors it, if any; its bytes here are what counts. Set before others see the region.
  void mirror_on(std::shared_ptr<DeviceRegion> device) { device_ = std::move(device); }
  [[nodiscard]] DeviceRegion* device() const { return device_.get(); }

 private:
  SharedRegion(std::string key, int fd, std::uint8_t* base, std::size_t size)
      : key_(std::move(key)), fd_(fd), base_(base), size_(size) {}
  static Result<std::shared_ptr<SharedRegion>> map(std::string key, int fd, std::size_t bytes);

  const std::string key_;
  const int fd_;
  std::uint8_t* const base_;
  const std::size_t size_;
  std::shared_ptr<DeviceRegion> device_;
};

// Unlinks every region under /dev/shm whose name (no slash) is `ours` and whose owner is dead. Returns how
// many were removed. REQUIRES: whatever bears such a name was made by SharedRegion::named(); only then does a
// lock tell.
std::size_t sweep_stale_regions(const std::function<bool(std::string_view)>& ours);

}  // namespace floodgate
