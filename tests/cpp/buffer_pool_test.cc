#include "floodgate/buffer_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace floodgate {
namespace {

PoolOptions small() {
  PoolOptions options;
  options.generation = 7;
  options.tensors = {{"image", DType::kUint8, {2, 2, 3}, false}, {"wide", DType::kUint8, {3, 1, 5}, false}};
  options.max_rows = 4;
  options.buffers = 2;
  return options;
}

PoolOptions text() {
  PoolOptions options;
  options.tensors = {{"text", DType::kUint8, {8}, true}, {"text_length", DType::kInt32, {1}, false}};
  options.max_rows = 3;
  options.buffers = 2;
  return options;
}

std::unique_ptr<BufferPool> make(PoolOptions options) {
  return std::move(BufferPool::create(std::move(options))).value();
}

bool exists(const std::string& key) {
  const int fd = shm_open(key.c_str(), O_RDONLY, 0);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

std::string key_of(const BufferPool& pool, std::uint32_t buffer) {
  return pool.tensor_refs(buffer, 1, 8)[0].region;
}

TEST(BufferPool, RefusesWhatCannotHoldABatch) {
  PoolOptions options = small();
  options.tensors.clear();
  EXPECT_EQ(BufferPool::create(options).status().code(), Code::kInvalidArgument);
  options = small();
  options.buffers = 1;
  EXPECT_EQ(BufferPool::create(options).status().code(), Code::kInvalidArgument);
  options = small();
  options.max_rows = 0;
  EXPECT_EQ(BufferPool::create(options).status().code(), Code::kInvalidArgument);
}

TEST(BufferPool, EveryTransitionNotDrawnIsRefusedAndChangesNothing) {
  const BufferState all[] = {BufferState::kFree,   BufferState::kFilling,  BufferState::kSealing,
                             BufferState::kSealed, BufferState::kInFlight, BufferState::kQuarantined};
  const auto reach = [](BufferPool& pool, BufferState state) {
    const std::uint32_t buffer = *pool.begin_filling();
    const BufferState path[] = {BufferState::kSealing, BufferState::kSealed, BufferState::kInFlight,
                                BufferState::kQuarantined};
    if (state == BufferState::kFree) {
      EXPECT_TRUE(pool.move(buffer, BufferState::kFree).ok());
    }
    for (const BufferState step : path) {
      if (pool.state(buffer) == state || state == BufferState::kFree) break;
      EXPECT_TRUE(pool.move(buffer, step).ok());
    }
    return buffer;
  };
  int allowed = 0;
  for (const BufferState from : all) {
    for (const BufferState to : all) {
      const auto pool = make(small());
      const std::uint32_t buffer = reach(*pool, from);
      ASSERT_EQ(pool->state(buffer), from);
      const bool moved = pool->move(buffer, to).ok();
      EXPECT_EQ(pool->state(buffer), moved ? to : from);
      EXPECT_EQ(pool->count(pool->state(buffer)), pool->state(buffer) == BufferState::kFree ? 2u : 1u);
      allowed += moved ? 1 : 0;
    }
  }
  EXPECT_EQ(allowed, 5 + 1 + 2 + 1 + 1);
}

TEST(BufferPool, OnlyFreeBuffersAreHandedOut) {
  const auto pool = make(small());
  const std::uint32_t first = *pool->begin_filling();
  const std::uint32_t second = *pool->begin_filling();
  EXPECT_NE(first, second);
  EXPECT_FALSE(pool->begin_filling().has_value());
  for (const BufferState state : {BufferState::kSealed, BufferState::kInFlight, BufferState::kQuarantined}) {
    ASSERT_TRUE(pool->move(first, state).ok());
    EXPECT_FALSE(pool->begin_filling().has_value());
  }
  ASSERT_TRUE(pool->move(first, BufferState::kFree).ok());
  EXPECT_EQ(pool->begin_filling(), first);
}

TEST(BufferPool, FirstRowsOfEveryTensorAreDenseWhereTheServerIsTold) {
  const auto pool = make(small());
  const std::uint32_t buffer = *pool->begin_filling();
  for (std::uint32_t row = 0; row < 4; ++row) {
    std::memset(pool->row(buffer, 0, row).data(), static_cast<int>(10 + row), 12);
    std::memset(pool->row(buffer, 1, row).data(), static_cast<int>(20 + row), 15);
  }
  const auto refs = pool->tensor_refs(buffer, 3, 0);
  ASSERT_EQ(refs.size(), 2u);
  EXPECT_EQ(refs[0].shape, (std::vector<std::int64_t>{3, 2, 2, 3}));
  EXPECT_EQ(refs[1].shape, (std::vector<std::int64_t>{3, 3, 1, 5}));
  EXPECT_EQ(refs[1].bytes, 45);
  EXPECT_TRUE(refs[0].region.starts_with("/floodgate-" + std::to_string(getpid()) + "-7-"));
  const int fd = shm_open(refs[0].region.c_str(), O_RDONLY, 0);
  ASSERT_GE(fd, 0);
  auto* base = static_cast<const std::uint8_t*>(
      mmap(nullptr, static_cast<std::size_t>(refs[0].region_bytes), PROT_READ, MAP_SHARED, fd, 0));
  for (int row = 0; row < 3; ++row) {
    EXPECT_EQ(base[refs[0].offset + row * 12], 10 + row);
    EXPECT_EQ(base[refs[0].offset + row * 12 + 11], 10 + row);
    EXPECT_EQ(base[refs[1].offset + row * 15], 20 + row);
  }
  munmap(const_cast<std::uint8_t*>(base), static_cast<std::size_t>(refs[0].region_bytes));
  close(fd);
}

TEST(BufferPool, GatherFillsHolesInPlaceAndAcrossBuffers) {
  const auto pool = make(small());
  const std::uint32_t from = *pool->begin_filling();
  const std::uint32_t to = *pool->begin_filling();
  for (std::uint32_t row = 0; row < 4; ++row) {
    for (std::size_t tensor : {0u, 1u}) pool->row(from, tensor, row)[0] = static_cast<std::uint8_t>(row + 1);
  }
  const std::uint32_t across[] = {3, 1};
  pool->gather(from, across, to, 0);
  EXPECT_EQ(pool->row(to, 1, 0)[0], 4);
  EXPECT_EQ(pool->row(to, 0, 1)[0], 2);
  const std::uint32_t in_place[] = {0, 3, 2};
  pool->gather(from, in_place, from, 0);
  EXPECT_EQ(pool->row(from, 0, 0)[0], 1);
  EXPECT_EQ(pool->row(from, 1, 1)[0], 4);
  EXPECT_EQ(pool->row(from, 0, 2)[0], 3);
}

TEST(BufferPool, TextRowsShrinkToTheirBucket) {
  const auto pool = make(text());
  const std::uint32_t buffer = *pool->begin_filling();
  const char* words[] = {"aa\0\0\0\0\0\0", "hole\0\0\0\0", "ccc\0\0\0\0\0"};
  for (std::uint32_t row = 0; row < 3; ++row) {
    std::memcpy(pool->row(buffer, 0, row).data(), words[row], 8);
    const auto length = static_cast<std::int32_t>(std::strlen(words[row]));
    std::memcpy(pool->row(buffer, 1, row).data(), &length, 4);
  }
  const std::uint32_t kept[] = {0, 2};
  pool->gather(buffer, kept, buffer, 4);
  EXPECT_EQ(std::memcmp(pool->row(buffer, 0, 0).data(), "aa\0\0ccc\0", 8), 0);
  std::int32_t lengths[2];
  std::memcpy(lengths, pool->row(buffer, 1, 0).data(), 8);
  EXPECT_EQ(lengths[0], 2);
  EXPECT_EQ(lengths[1], 3);
  const auto refs = pool->tensor_refs(buffer, 2, 4);
  EXPECT_EQ(refs[0].shape, (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(refs[1].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(refs[1].dtype, DType::kInt32);
}

TEST(BufferPool, ALostRegionIsLeftBehindUnderANameNeverUsedAgain) {
  const auto pool = make(small());
  const std::uint32_t sent = *pool->begin_filling();
  const std::uint32_t filling = *pool->begin_filling();
  ASSERT_TRUE(pool->move(sent, BufferState::kSealed).ok());
  ASSERT_TRUE(pool->move(sent, BufferState::kInFlight).ok());
  const std::string old = key_of(*pool, sent);
  EXPECT_EQ(old, key_of(*pool, filling));

  pool->adopt_region(std::move(pool->fresh_region()).value());
  EXPECT_EQ(key_of(*pool, filling), old) << "what was never sent may stay where it is";
  ASSERT_TRUE(pool->move(sent, BufferState::kFree).ok());
  EXPECT_NE(key_of(*pool, sent), old);
  EXPECT_TRUE(exists(old));
  ASSERT_TRUE(pool->move(filling, BufferState::kFree).ok());
  EXPECT_FALSE(exists(old)) << "the last buffer has left it";
}

TEST(BufferPool, RegionsAreUnlinkedWithThePool) {
  auto pool = make(small());
  const std::string key = key_of(*pool, 0);
  EXPECT_TRUE(exists(key));
  pool.reset();
  EXPECT_FALSE(exists(key));
}

TEST(SharedRegion, ATakenKeyIsRefusedAndTheOwnerKeepsIt) {
  const std::string key = "/floodgate-test-" + std::to_string(getpid());
  const auto owner = SharedRegion::named(key, 4096);
  ASSERT_TRUE(owner.ok());
  EXPECT_EQ(SharedRegion::named(key, 4096).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(exists(key));
  EXPECT_EQ(SharedRegion::named("no-slash", 1).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(SharedRegion::named(key, 0).status().code(), Code::kInvalidArgument);
}

TEST(SharedRegion, SweepingRemovesTheDeadOwnersRegionsOnly) {
  const std::string prefix = "floodgate-sweep-" + std::to_string(getpid()) + "-";
  const auto mine = SharedRegion::named("/" + prefix + "mine", 64);
  ASSERT_TRUE(mine.ok());
  const pid_t child = fork();
  if (child == 0) {
    // Dies with its region still linked, as a killed server does.
    const auto left = SharedRegion::named("/" + prefix + "left", 64);
    _exit(left.ok() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(exists("/" + prefix + "left"));
  EXPECT_EQ(sweep_stale_regions([&](std::string_view name) { return name.starts_with(prefix); }), 1u);
  EXPECT_FALSE(exists("/" + prefix + "left"));
  EXPECT_TRUE(exists("/" + prefix + "mine"));
}

}  // namespace
}  // namespace floodgate
