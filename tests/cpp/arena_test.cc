#include "floodgate/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace floodgate {
namespace {

std::shared_ptr<Arena> make(std::size_t bytes) { return std::move(Arena::create(bytes)).value(); }

TEST(Arena, RefusesNothingAndTooMuch) {
  EXPECT_EQ(Arena::create(0).status().code(), Code::kInvalidArgument);
  const auto arena = make(1024);
  EXPECT_EQ(arena->allocate(0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(arena->allocate(1025).status().code(), Code::kOverloaded);
  EXPECT_EQ(arena->allocate(SIZE_MAX).status().code(), Code::kOverloaded);
  EXPECT_TRUE(arena->allocate(1024).ok());
}

TEST(Arena, BlocksAreAlignedAndAccountedWithTheirPadding) {
  const auto arena = make(1024);
  const auto first = arena->allocate(1);
  const auto second = arena->allocate(65);
  EXPECT_EQ(first.value().block().offset % kArenaAlignment, 0u);
  EXPECT_EQ(second.value().block().offset % kArenaAlignment, 0u);
  EXPECT_EQ(arena->bytes(second.value().block()).size(), 65u);
  EXPECT_EQ(arena->used_bytes(), 64u + 128u);
}

TEST(Arena, TakesTheTightestFitAndJoinsNeighbours) {
  const auto arena = make(640);
  auto a = std::move(arena->allocate(192)).value();
  auto b = std::move(arena->allocate(64)).value();
  auto c = std::move(arena->allocate(64)).value();
  auto d = std::move(arena->allocate(64)).value();
  const std::uint64_t gap = c.block().offset;
  a.reset();
  c.reset();
  EXPECT_EQ(arena->free_runs(), 3u);
  auto tight = std::move(arena->allocate(60)).value();
  EXPECT_EQ(tight.block().offset, gap);
  tight.reset();
  b.reset();
  EXPECT_EQ(arena->free_runs(), 2u);
  d.reset();
  EXPECT_EQ(arena->free_runs(), 1u);
  EXPECT_TRUE(arena->allocate(640).ok());
}

TEST(Arena, ALeaseMovedFromGivesNothingBack) {
  const auto arena = make(256);
  ArenaLease kept;
  {
    auto lease = std::move(arena->allocate(100)).value();
    kept = std::move(lease);
  }
  EXPECT_EQ(arena->used_bytes(), 128u);
  kept.reset();
  kept.reset();
  EXPECT_EQ(arena->used_bytes(), 0u);
}

TEST(Arena, ThreadsNeverShareBytes) {
  const auto arena = make(1 << 16);
  const auto churn = [&](std::uint8_t mark) {
    std::mt19937 random(mark);
    std::vector<ArenaLease> held;
    for (int step = 0; step < 5000; ++step) {
      if (!held.empty() && random() % 2 == 0) {
        const std::size_t at = random() % held.size();
        const auto bytes = arena->bytes(held[at].block());
        ASSERT_TRUE(std::all_of(bytes.begin(), bytes.end(), [&](std::uint8_t byte) { return byte == mark; }));
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
        continue;
      }
      auto lease = arena->allocate(1 + random() % 3000);
      if (!lease.ok()) {
        ASSERT_EQ(lease.status().code(), Code::kOverloaded);
        continue;
      }
      std::ranges::fill(arena->bytes(lease.value().block()), mark);
      held.push_back(std::move(lease).value());
    }
  };
  std::vector<std::thread> threads;
  for (std::uint8_t mark = 1; mark <= 3; ++mark) threads.emplace_back(churn, mark);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena->used_bytes(), 0u);
  EXPECT_EQ(arena->free_runs(), 1u);
}

}  // namespace
}  // namespace floodgate
