#include "floodgate/arena.h"

#include <string>

namespace floodgate {
namespace {

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

}  // namespace

void ArenaLease::reset() {
  if (arena_ != nullptr) arena_->release(block_);
  arena_ = nullptr;
  block_ = {};
}

std::span<std::uint8_t> ArenaLease::bytes() const { return arena_->bytes(block_); }

Arena::Arena(std::shared_ptr<SharedRegion> region) : region_(std::move(region)) {
  insert_run(0, capacity_bytes());
}

std::shared_ptr<Arena> Arena::over(std::shared_ptr<SharedRegion> region) {
  return std::shared_ptr<Arena>(new Arena(std::move(region)));
}

Result<std::shared_ptr<Arena>> Arena::create(std::size_t bytes) {
  auto region = SharedRegion::anonymous(aligned(bytes));
  if (!region.ok()) return region.status();
  return std::shared_ptr<Arena>(new Arena(std::move(region).value()));
}

Result<ArenaLease> Arena::allocate(std::size_t bytes) {
  if (bytes == 0) return Status(Code::kInvalidArgument, "an arena block needs at least one byte");
  const std::uint64_t need = aligned(bytes);
  const std::lock_guard lock(mu_);
  const auto fit = need < bytes ? by_size_.end() : by_size_.lower_bound({need, 0});
  if (fit == by_size_.end()) {
    return Status(Code::kOverloaded, "no room for " + std::to_string(bytes) +
                                         " bytes of encoded media: " + std::to_string(used_) + " of " +
                                         std::to_string(capacity_bytes()) + " bytes are in use");
  }
  const auto [size, offset] = *fit;
  erase_run(runs_.find(offset));
  if (size > need) insert_run(offset + need, size - need);
  used_ += need;
  return ArenaLease(shared_from_this(), ArenaBlock{offset, bytes});
}

void Arena::release(const ArenaBlock& block) {
  const std::lock_guard lock(mu_);
  std::uint64_t offset = block.offset;
  std::uint64_t size = aligned(block.size);
  used_ -= size;
  const auto next = runs_.lower_bound(offset);
  if (next != runs_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      offset = previous->first;
      size += previous->second;
      erase_run(previous);
    }
  }
  if (next != runs_.end() && next->first == offset + size) {
    size += next->second;
    erase_run(next);
  }
  insert_run(offset, size);
}

void Arena::insert_run(std::uint64_t offset, std::uint64_t size) {
  runs_.emplace(offset, size);
  by_size_.emplace(size, offset);
}

void Arena::erase_run(std::map<std::uint64_t, std::uint64_t>::iterator run) {
  by_size_.erase({run->second, run->first});
  runs_.erase(run);
}

std::size_t Arena::used_bytes() const {
  const std::lock_guard lock(mu_);
  return used_;
}

std::size_t Arena::free_runs() const {
  const std::lock_guard lock(mu_);
  return runs_.size();
}

}  // namespace floodgate
