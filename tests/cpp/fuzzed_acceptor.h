// Another process's arena and what is heard of it, for lives of the scheduler: bytes are spoiled as soon as
// nobody may read them any more, so that whoever does is seen by what it reads.
//
// Thread rule: any thread, and the scheduler's under its lock.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "floodgate/arena.h"
#include "floodgate/scheduler.h"

namespace floodgate::testing {

class FuzzedAcceptor final : public Submitter {
 public:
  FuzzedAcceptor(std::shared_ptr<SharedRegion> region, std::function<void(const Done&)> check)
      : arena_(Arena::over(std::move(region))), check_(std::move(check)) {}

  // Puts a ticket's bytes into the arena; false: there is no room. REQUIRES: the ticket's number is new.
  bool put(std::uint64_t ticket, std::span<const std::uint8_t> data, ForeignBytes& foreign) {
    auto lease = arena_->allocate(data.size());
    if (!lease.ok()) return false;
    foreign.block = lease.value().block();
    std::ranges::copy(data, arena_->bytes(foreign.block).begin());
    const std::lock_guard lock(mu_);
    open_.emplace(ticket, Open{std::move(lease).value()});
    return true;
  }
  // The scheduler refused it.
  void take_back(std::uint64_t ticket) {
    const std::lock_guard lock(mu_);
    const auto found = open_.find(ticket);
    ASSERT_TRUE(found != open_.end() && !found->second.answered && found->second.lease.held())
        << "refused, and more was heard of it: " << ticket;
    open_.erase(found);
  }

  void answered(Done done) override {
    check_(done);
    const std::lock_guard lock(mu_);
    const auto found = open_.find(done.ticket);
    ASSERT_TRUE(found != open_.end() && !found->second.answered) << "answered twice: " << done.ticket;
    found->second.answered = true;
    forget_if_over(found);
  }
  void released(std::uint64_t ticket, bool over, const std::optional<Sha256>& digest) override {
    const std::lock_guard lock(mu_);
    const auto found = open_.find(ticket);
    ASSERT_TRUE(found != open_.end() && found->second.lease.held()) << "released twice: " << ticket;
    EXPECT_TRUE(over || !found->second.answered) << ticket;
    const auto bytes = arena_->bytes(found->second.lease.block());
    if (digest) {
      EXPECT_EQ(*digest, sha256(bytes)) << ticket;
    }
    std::ranges::fill(bytes, std::uint8_t{0xA5});
    found->second.lease.reset();
    forget_if_over(found);
  }

  // Every ticket was answered and released.
  [[nodiscard]] bool empty() const {
    const std::lock_guard lock(mu_);
    return open_.empty() && arena_->used_bytes() == 0;
  }

 private:
  struct Open {
    ArenaLease lease;
    bool answered = false;
  };

  void forget_if_over(std::map<std::uint64_t, Open>::iterator ticket) {
    if (ticket->second.answered && !ticket->second.lease.held()) open_.erase(ticket);
  }

  const std::shared_ptr<Arena> arena_;
  const std::function<void(const Done&)> check_;
  mutable std::mutex mu_;
  std::map<std::uint64_t, Open> open_;  // guarded by mu_
};

}  // namespace floodgate::testing
