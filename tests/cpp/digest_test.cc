// The digest of what was submitted: made once, by whoever decodes it, and of what nobody decoded, afterwards.
#include <gtest/gtest.h>

#include <string>

#include "floodgate/sha256.h"
#include "scheduler_harness.h"

namespace floodgate {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// FIPS 180-2, appendices B.1 and B.3, the digest of nothing, and (by coreutils) of whole pieces and one byte
// more.
TEST(Digest, IsTheStandards) {
  const auto hex = [](const std::optional<Sha256>& digest) {
    std::string text;
    for (const std::uint8_t byte : digest.value()) {
      text += "0123456789abcdef"[byte >> 4U];
      text += "0123456789abcdef"[byte & 15U];
    }
    return text;
  };
  EXPECT_EQ(hex(sha256(bytes_of("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256(bytes_of(std::string(1'000'000, 'a')))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(hex(sha256(bytes_of(std::string(1024, 'a')))),
            "2edc986847e209b4016e141a6dc8716d3207350f416969382d431539bf292e4a");
  EXPECT_EQ(hex(sha256(bytes_of(std::string(2049, 'a')))),
            "ba7bea600e8f3dfd3385b6bd01756500fc11dfff0a54b6b68af8cc4733b959e8");
}

TEST(Digest, ComesWithEveryAnswer) {
  Bench bench;
  const std::string text = "a text of several rows, the digest of which is that of the whole";
  ASSERT_TRUE(bench.submit_picture(1).ok());
  ASSERT_TRUE(bench.submit_picture(2, kBroken).ok());
  ASSERT_TRUE(bench.submit_text(3, text).ok());
  bench.serve({1, 2, 3});
  EXPECT_EQ(bench.done[1].digest, sha256(picture(1)));
  EXPECT_EQ(bench.done[2].code, Code::kInvalidContent);
  EXPECT_EQ(bench.done[2].digest, sha256(picture(2, kBroken)));
  EXPECT_GT(bench.done[3].rows.size(), 1U);
  EXPECT_EQ(bench.done[3].digest, sha256(bytes_of(text)));
  bench.expect_everything_free();
}

TEST(Digest, IsMadeOfWhatNobodyDecodedInTimeToo) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Bench bench(std::move(options));
  const Nanos soon = monotonic_now() + kSecond / 4;
  ASSERT_TRUE(bench.submit_picture(1, kGated, soon).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2, kPlain, soon).ok());
  ASSERT_TRUE(bench.submit_picture(3).ok());
  EXPECT_EQ(bench.await_done(1).digest, sha256(picture(1, kGated)));
  EXPECT_EQ(bench.await_done(2).code, Code::kDeadlineExceeded);
  const std::uint64_t used = bench.scheduler->stats().arena_used_bytes;
  EXPECT_FALSE(bench.done[2].digest.has_value()) << "made by whoever needs it";
  EXPECT_EQ(digest_of(bench.done[2]), sha256(picture(2)));
  EXPECT_EQ(bench.scheduler->stats().arena_used_bytes, used - kArenaAlignment)
      << "the arena has its bytes back";
  ASSERT_TRUE(bench.scheduler->cancel(3));
  EXPECT_FALSE(bench.await_done(3).digest.has_value()) << "nobody asks for it";
  bench.gate.open();
  bench.expect_everything_free();
}

TEST(Digest, BytesOfAnAnswerThatNobodyPollsAreAccountedFor) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1, kGated).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2, kPlain, monotonic_now() + kSecond / 4).ok());
  ASSERT_TRUE(bench.readable(20'000));
  const Status audited = bench.scheduler->audit();
  EXPECT_TRUE(audited.ok()) << audited.message();
  EXPECT_EQ(bench.scheduler->stats().arena_used_bytes, 2 * kArenaAlignment);
  bench.pump();
  EXPECT_EQ(bench.scheduler->stats().arena_used_bytes, 2 * kArenaAlignment);
  bench.done.erase(2);
  EXPECT_EQ(bench.scheduler->stats().arena_used_bytes, kArenaAlignment);
  bench.gate.open();
  bench.serve({1});
  bench.expect_everything_free();
}

TEST(Digest, OfMuchIsLeftToWhoeverNeedsIt) {
  Bench bench;
  for (const std::uint64_t more : {0, 1}) {
    auto data = picture(1 + more, kPlain, kMostDigestedBytes - 9 + more);
    Submission submission;
    submission.ticket = 1 + more;
    submission.ensembles = {"image@test"};
    submission.data = data;
    ASSERT_TRUE(bench.scheduler->submit(submission).ok());
    bench.serve({1 + more});
    EXPECT_EQ(bench.done[1 + more].digest, more == 0 ? sha256(data) : std::nullopt);
  }
  bench.expect_everything_free();
}

}  // namespace
}  // namespace floodgate
