// Tickets whose rows are frames: how many there are shows only while they are decoded.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>

#include "scheduler_harness.h"
#include "scripted_worker.h"

namespace floodgate {
namespace {

using testing::Bench;
using testing::Gate;

SchedulerOptions scripted(Gate* gate, std::uint32_t workers, Gate* pictures) {
  SchedulerOptions options;
  options.decode_workers = workers;
  options.workers = [gates = testing::Gates{gate, pictures, nullptr}](std::span<const std::uint8_t> arena) {
    return std::make_unique<testing::ScriptedWorkers>(arena, gates);
  };
  return options;
}

struct SequenceBench : Bench {
  explicit SequenceBench(Gate* held, std::uint32_t workers = 1, Gate* pictures = nullptr)
      : Bench(scripted(held, workers, pictures)) {}

  Status submit_video(std::uint64_t id, const std::string& script, std::uint32_t max_frames = 16,
                      Nanos deadline = kNever, Lane lane = Lane::kStandard) {
    auto data = testing::picture(id, testing::kVideo, script.size());
    std::copy(script.begin(), script.end(), data.end() - static_cast<std::ptrdiff_t>(script.size()));
    Submission submission;
    submission.ticket = id;
    submission.ensembles = {"image@test"};
    submission.data = data;
    submission.plan.max_frames = max_frames;
    submission.lane = lane;
    submission.deadline_ns = deadline;
    return scheduler->submit(submission);
  }
};

std::vector<std::int64_t> times(const Done& done) {
  std::vector<std::int64_t> found;
  for (const DoneRow& row : done.rows) found.push_back(row.time_ms);
  return found;
}

TEST(SchedulerSequence, EveryFrameIsScoredAtItsOwnTime) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(7, "fffff").ok());
  bench.serve({7});
  const Done& done = bench.done[7];
  EXPECT_EQ(done.code, Code::kOk) << done.message;
  EXPECT_EQ(times(done), (std::vector<std::int64_t>{0, 100, 200, 300, 400}));
  for (const DoneRow& row : done.rows) EXPECT_EQ(testing::id_of(row.scores[0]), 7u);
  EXPECT_EQ(done.frames_sampled, 5u);
  EXPECT_EQ(done.sequence.duration_ms, 500);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, NearCopiesTakeNoRowAndAreCounted) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(1, "fssfsfs").ok());
  bench.serve({1});
  const Done& done = bench.done[1];
  EXPECT_EQ(times(done), (std::vector<std::int64_t>{0, 300, 500}));
  EXPECT_EQ(done.frames_sampled, 3u);
  EXPECT_EQ(done.frames_dropped, 4u);
  EXPECT_EQ(done.frames_missed, 0u);
  EXPECT_EQ(bench.scheduler->stats().counters.frames_similar, 4u);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, APlanEndsAtItsMostFrames) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(1, "ffffffff", 3).ok());
  bench.serve({1});
  EXPECT_EQ(times(bench.done[1]), (std::vector<std::int64_t>{0, 100, 200}));
  bench.expect_everything_free();
}

TEST(SchedulerSequence, MoreFramesThanABatchHoldsGoInSeveral) {
  Gate gate;
  SequenceBench bench(&gate, 2);
  ASSERT_TRUE(bench.submit_video(1, std::string(40, 'f'), 64).ok());
  bench.serve({1});
  EXPECT_EQ(bench.done[1].frames_sampled, 40u);
  EXPECT_TRUE(std::ranges::is_sorted(times(bench.done[1])));
  bench.expect_everything_free();
}

TEST(SchedulerSequence, AFailureFailsThePartAndNobodyElse) {
  for (const char failure : {'x', 'c'}) {
    Gate gate;
    SequenceBench bench(&gate);
    ASSERT_TRUE(bench.submit_video(1, std::string("ff") + failure + "f").ok());
    ASSERT_TRUE(bench.submit_video(2, "fff").ok());
    ASSERT_TRUE(bench.submit_picture(3).ok());
    bench.serve({1, 2, 3});
    EXPECT_EQ(bench.done[1].code, Code::kInvalidContent);
    EXPECT_EQ(bench.done[1].message, "the script says so");
    EXPECT_TRUE(bench.done[1].rows.empty());
    EXPECT_EQ(bench.done[2].code, Code::kOk);
    EXPECT_EQ(bench.done[3].code, Code::kOk);
    bench.expect_everything_free();
  }
}

TEST(SchedulerSequence, ASequenceWithoutAnyFrameIsUnreadable) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(1, "").ok());
  EXPECT_EQ(bench.await_done(1).code, Code::kInvalidContent);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, AtTheDeadlineWhatWasScoredIsAnswered) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(1, "ffgfff", 16, monotonic_now() + kSecond).ok());
  while (bench.done.empty() &&
         bench.await([&] { return !bench.batches.empty() || bench.done.contains(1); })) {
    if (!bench.batches.empty()) bench.answer(bench.await_batch());
  }
  const Done& done = bench.await_done(1);
  EXPECT_EQ(done.code, Code::kDeadlineExceeded);
  ASSERT_EQ(done.rows.size(), 3u) << "two scored frames, and one for all that were missed";
  EXPECT_TRUE(done.rows[0].scores[0].output(0).has_value());
  EXPECT_FALSE(done.rows[2].scores[0].output(0).has_value());
  EXPECT_EQ(done.frames_sampled, 2u);
  gate.open();
}

TEST(SchedulerSequence, AParkedVideoLetsAnUrgentPictureThrough) {
  Gate gate;
  SequenceBench bench(&gate);
  ASSERT_TRUE(bench.submit_video(1, "g" + std::string(30, 'f'), 64, kNever, Lane::kBulk).ok());
  gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2, testing::kPlain, kNever, Lane::kLive).ok());
  gate.open();
  bench.serve({2});
  EXPECT_FALSE(bench.done.contains(1)) << "the picture waited for the whole video";
  bench.serve({1});
  EXPECT_EQ(bench.done[1].frames_sampled, 31u);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, AfterItsFirstFrameAVideoTakesNoMoreOfTheQueueThanItsPlan) {
  Gate gate;
  Gate pictures;
  SequenceBench bench(&gate, 1, &pictures);
  ASSERT_TRUE(bench.submit_video(1, "gfff", 64, kNever, Lane::kBulk).ok());
  gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2, testing::kGated, kNever, Lane::kLive).ok());
  gate.open();
  // The one worker puts the video back and holds at the picture.
  pictures.await(1);
  EXPECT_EQ(bench.scheduler->stats().queued_rows[lane_index(Lane::kBulk)], 3u);
  pictures.open();
  bench.serve({1, 2});
  EXPECT_EQ(bench.done[1].frames_sampled, 4u);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, ACancelledVideoLeavesEverythingFree) {
  Gate gate;
  SequenceBench bench(&gate, 2);
  ASSERT_TRUE(bench.submit_video(1, "fgf").ok());
  gate.await(1);
  EXPECT_TRUE(bench.scheduler->cancel(1));
  gate.open();
  EXPECT_EQ(bench.await_done(1).code, Code::kCancelled);
  bench.expect_everything_free();
}

TEST(SchedulerSequence, ManyVideosOnFewWorkersAllComeThrough) {
  Gate gate;
  SequenceBench bench(&gate, 3);
  std::vector<std::uint64_t> ids;
  for (std::uint64_t id = 1; id <= 60; ++id) {
    std::string script;
    for (std::uint64_t i = 0; i < 3 + id % 9; ++i) script += (id + i) % 4 == 0 ? 's' : 'f';
    const Lane lane = id % 3 == 0 ? Lane::kLive : id % 3 == 1 ? Lane::kStandard : Lane::kBulk;
    ASSERT_TRUE(bench.submit_video(id, "f" + script, 16, kNever, lane).ok());
    ids.push_back(id);
  }
  bench.serve(ids);
  for (const std::uint64_t id : ids) {
    const Done& done = bench.done[id];
    EXPECT_EQ(done.code, Code::kOk);
    EXPECT_EQ(done.frames_sampled + done.frames_dropped, 4 + id % 9);
    for (const DoneRow& row : done.rows) EXPECT_EQ(testing::id_of(row.scores[0]), id);
  }
  bench.expect_everything_free();
}

TEST(SchedulerSequence, AnOutlandishPlanIsRefused) {
  Gate gate;
  SequenceBench bench(&gate);
  EXPECT_EQ(bench.submit_video(1, "f", 0).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.submit_video(1, "f", kMaxPlannedFrames + 1).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace floodgate
