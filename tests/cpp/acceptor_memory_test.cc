// The memory that acceptors fill and others read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>

#include "floodgate/arena_space.h"
#include "sandbox_harness.h"

namespace floodgate {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

TEST(AcceptorMemory, NobodyCanShortenAnArena) {
  const auto region = SharedRegion::anonymous(1 << 16).value();
  EXPECT_NE(ftruncate(region->fd(), 0), 0);
  EXPECT_NE(ftruncate(region->fd(), 1 << 20), 0);
  const int unsealed = memfd_create("floodgate-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(unsealed, 1 << 16), 0);
  EXPECT_EQ(SharedRegion::adopt(unsealed, 1 << 16).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(SharedRegion::adopt(fcntl(region->fd(), F_DUPFD_CLOEXEC, 0), 1 << 17).status().code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(SharedRegion::adopt(fcntl(region->fd(), F_DUPFD_CLOEXEC, 0), 1 << 16).ok());
}

TEST(AcceptorMemory, ArenasLieSideBySide) {
  const auto one = SharedRegion::anonymous(5000).value();
  const auto other = SharedRegion::anonymous(100).value();
  one->bytes()[4999] = 1;
  other->bytes()[99] = 2;
  const std::vector<ArenaPiece> pieces = {{one->fd(), 5000}, {other->fd(), 100}};
  const auto space = ArenaSpace::map(pieces).value();
  EXPECT_EQ(space->bytes()[space->start(0) + 4999], 1);
  EXPECT_EQ(space->bytes()[space->start(1) + 99], 2);
  EXPECT_EQ(ArenaSpace::map({}).status().code(), Code::kInvalidArgument);
  const std::vector<ArenaPiece> missing = {{one->fd(), 5000}, {-1, 100}};
  EXPECT_EQ(ArenaSpace::map(missing).status().code(), Code::kUnavailable);
}

TEST(AcceptorMemory, ASandboxedWorkerReadsAnotherProcesssArena) {
  const auto foreign = SharedRegion::anonymous(1 << 20).value();
  SandboxOptions options = sandbox_options();
  options.more_arenas = {{foreign->fd(), 1 << 20}};
  Sandbox sandbox(options);
  const Data photo = jpeg(64, 48);
  std::ranges::copy(photo, foreign->bytes().begin() + 4096);
  DecodeJob job = sandbox.job(photo);
  const auto worker = sandbox.worker();
  ASSERT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  const Data expected = sandbox.row(job);
  std::ranges::fill(sandbox.region->bytes(), std::uint8_t{0});
  job.input.offset = kArenaBytes + 4096;
  ASSERT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  EXPECT_EQ(sandbox.row(job), expected);
}

}  // namespace
}  // namespace floodgate
