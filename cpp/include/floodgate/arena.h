// The arena: one fixed piece of shared memory in which encoded bytes wait for their decode.
//
// Blocks are named by offset, never by pointer, so that a job can be handed to another process. An ArenaLease
// owns one block, gives it back when it is destroyed, and keeps the arena until then. Allocation is best fit
// over 64-byte units with coalescing of neighbours. Thread rule: every member may be called from any thread
// at once; a block's bytes belong to its lease. Refused: an empty block; one with no room (kOverloaded).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include "floodgate/shared_region.h"
#include "floodgate/status.h"

namespace floodgate {

inline constexpr std::size_t kArenaAlignment = 64;

// Plain data: `size` bytes at `offset` from the arena's first byte.
struct ArenaBlock {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

class Arena;

class ArenaLease {
 public:
  ArenaLease() = default;
  ArenaLease(ArenaLease&& other) noexcept
      : arena_(std::exchange(other.arena_, nullptr)), block_(std::exchange(other.block_, {})) {}
  ArenaLease& operator=(ArenaLease&& other) noexcept {
    if (this != &other) {
      reset();
      arena_ = std::exchange(other.arena_, nullptr);
      block_ = std::exchange(other.block_, {});
    }
    return *this;
  }
  ~ArenaLease() { reset(); }

  void reset();
  [[nodiscard]] bool held() const { return arena_ != nullptr; }
  [[nodiscard]] const ArenaBlock& block() const { return block_; }
  // REQUIRES: held().
  [[nodiscard]] std::span<std::uint8_t> bytes() const;

 private:
  friend class Arena;
  ArenaLease(std::shared_ptr<Arena> arena, ArenaBlock block) : arena_(std::move(arena)), block_(block) {}

  std::shared_ptr<Arena> arena_;
  ArenaBlock block_;
};

class Arena : public std::enable_shared_from_this<Arena> {
 public:
  // `bytes` is rounded up to kArenaAlignment. Errors: kInvalidArgument (0 bytes), kUnavailable (no memory).
  static Result<std::shared_ptr<Arena>> create(std::size_t bytes);
  // Over memory that somebody else made, from its first byte on; a rest smaller than kArenaAlignment is not
  // used. REQUIRES: nobody else allocates there.
  static std::shared_ptr<Arena> over(std::shared_ptr<SharedRegion> region);

  // Errors: kInvalidArgument (0 bytes), kOverloaded (no free run is long enough).
  Result<ArenaLease> allocate(std::size_t bytes);

  // REQUIRES: `block` came from a live lease of this arena.
  [[nodiscard]] std::span<std::uint8_t> bytes(const ArenaBlock& block) const {
    return region_->bytes().subspan(block.offset, block.size);
  }
  [[nodiscard]] std::span<std::uint8_t> all_bytes() const { return region_->bytes(); }
  [[nodiscard]] int fd() const { return region_->fd(); }

  [[nodiscard]] std::size_t capacity_bytes() const {
    return region_->bytes().size() / kArenaAlignment * kArenaAlignment;
  }
  [[nodiscard]] std::size_t used_bytes() const;  // alignment included
  [[nodiscard]] std::size_t free_runs() const;   // 1 when nothing is fragmented and something is free

 private:
  friend class ArenaLease;
  explicit Arena(std::shared_ptr<SharedRegion> region);
  void release(const ArenaBlock& block);
  void insert_run(std::uint64_t offset, std::uint64_t size);
  void erase_run(std::map<std::uint64_t, std::uint64_t>::iterator run);

  const std::shared_ptr<SharedRegion> region_;

  mutable std::mutex mu_;
  // Guarded by mu_: the free runs, by offset and by (size, offset).
  std::map<std::uint64_t, std::uint64_t> runs_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;
  std::size_t used_ = 0;
};

}  // namespace floodgate
