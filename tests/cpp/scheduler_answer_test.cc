#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "floodgate/scheduler.h"
#include "scheduler_harness.h"

namespace floodgate {
namespace {

using testing::Bench;
using testing::image_ensemble;
using testing::infer;
using testing::kGated;

TEST(SchedulerAnswer, ADeadlineIsAnsweredInEveryStage) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Bench bench(std::move(options));
  // In flight, and its batch is never answered.
  const Nanos soon = monotonic_now() + kSecond;
  ASSERT_TRUE(bench.submit_picture(1, 'P', soon).ok());
  const Batch batch = bench.await_batch();
  EXPECT_EQ(batch.deadline_ns, soon);
  // Decoding, and waiting behind that decode.
  ASSERT_TRUE(bench.submit_picture(2, kGated, soon).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(3, 'P', soon).ok());
  for (std::uint64_t id = 1; id <= 3; ++id) {
    const Done& done = bench.await_done(id);
    EXPECT_EQ(done.code, Code::kDeadlineExceeded);
    ASSERT_EQ(done.rows.size(), 1u);
    EXPECT_FALSE(done.rows[0].scores[0].output(0).has_value());
    EXPECT_EQ(done.rows[0].scores[0].missing[0].reason, "deadline");
  }
  EXPECT_GE(monotonic_now(), soon) << "never before its time";
  const Stats stats = bench.scheduler->stats();
  EXPECT_EQ(stats.counters.expired_in_flight, 1u);
  EXPECT_EQ(stats.counters.expired_before_batch, 1u);
  EXPECT_EQ(stats.counters.expired_before_decode, 1u);
  EXPECT_EQ(bench.buffers(BufferState::kInFlight), 1u) << "the server may still read it";
  bench.answer(batch);
  EXPECT_EQ(bench.scheduler->stats().counters.rows_dead_in_flight, 1u);
  bench.gate.open();
  ASSERT_TRUE(bench.submit_picture(4).ok());
  bench.serve({4});
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, TheDeadlineKeepsWhatOtherEnsemblesSaid) {
  Bench bench({}, {image_ensemble("image@a"), image_ensemble("image@b")});
  const Nanos soon = monotonic_now() + kSecond;
  ASSERT_TRUE(bench.submit_picture(9, 'P', soon, Lane::kStandard, {"image@a", "image@b"}).ok());
  ASSERT_TRUE(bench.await([&] { return bench.batches.size() == 2; }));
  std::map<std::string, Batch> batches;
  for (const Batch& batch : std::exchange(bench.batches, {})) batches[batch.ensemble] = batch;
  bench.answer(batches["image@a"]);
  const Done& done = bench.await_done(9);
  EXPECT_EQ(done.code, Code::kDeadlineExceeded);
  EXPECT_EQ(testing::id_of(done.rows[0].scores[0]), 9u);
  EXPECT_FALSE(done.rows[0].scores[1].output(0).has_value());
  bench.answer(batches["image@b"]);
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, CancellingIsCountedByStageAndAnsweredOnce) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch batch = bench.await_batch();
  ASSERT_TRUE(bench.submit_picture(2, kGated).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(3).ok());
  for (std::uint64_t id = 1; id <= 3; ++id) {
    EXPECT_TRUE(bench.scheduler->cancel(id));
    EXPECT_FALSE(bench.scheduler->cancel(id));
    EXPECT_EQ(bench.await_done(id).code, Code::kCancelled);
  }
  EXPECT_FALSE(bench.scheduler->cancel(99));
  const Counters counters = bench.scheduler->stats().counters;
  EXPECT_EQ(counters.cancelled_in_flight, 1u);
  EXPECT_EQ(counters.cancelled_before_batch, 1u);
  EXPECT_EQ(counters.cancelled_before_decode, 1u);
  EXPECT_EQ(counters.pictures_decoded, 1u) << "the third one was never begun";
  bench.answer(batch);
  bench.gate.open();
  ASSERT_TRUE(bench.submit_picture(4).ok());
  bench.serve({4});
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, ABatchWhoseRowsAllDiedIsNeverSent) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  ASSERT_TRUE(bench.readable(20'000)) << "closed, not taken";
  ASSERT_TRUE(bench.scheduler->cancel(1));
  EXPECT_TRUE(bench.scheduler->take_batches().empty());
  EXPECT_EQ(bench.scheduler->stats().counters.batches_dead_unsent, 1u);
  EXPECT_EQ(bench.await_done(1).code, Code::kCancelled);
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, ARowThatDiedInAClosedBatchTravelsAlongAndIsCounted) {
  EnsembleConfig config = image_ensemble();
  config.credit = 1;
  Bench bench({}, {config});
  // The only credit is taken, so that the next two rows wait and then travel together.
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch first = bench.await_batch();
  ASSERT_TRUE(bench.submit_picture(2).ok());
  ASSERT_TRUE(bench.submit_picture(3).ok());
  while (bench.scheduler->stats().ensembles[0].ready_rows < 2) std::this_thread::yield();
  bench.answer(first);
  while (bench.buffers(BufferState::kSealed) == 0) std::this_thread::yield();
  ASSERT_TRUE(bench.scheduler->cancel(2));
  EXPECT_EQ(bench.scheduler->stats().counters.rows_dead_sent, 0u);
  const Batch second = bench.await_batch();
  EXPECT_EQ(second.rows, 2u);
  EXPECT_EQ(bench.scheduler->stats().counters.rows_dead_sent, 1u);
  bench.answer(second);
  EXPECT_EQ(bench.await_done(2).code, Code::kCancelled);
  EXPECT_EQ(bench.await_done(3).code, Code::kOk);
  EXPECT_EQ(bench.scheduler->stats().counters.rows_dead_in_flight, 1u);
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, WrongSizesAndNonFiniteValuesNeverBecomeScores) {
  EnsembleConfig config = image_ensemble();
  config.max_batch = 2;
  Bench bench({}, {config});
  // The first batch keeps the device busy, so that the next two rows travel together.
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch first = bench.await_batch();
  EXPECT_TRUE(
      bench.scheduler
          ->complete(first.batch_id, std::vector<OutputValues>{{"sum__total", std::vector<float>{1}}}, {})
          .ok());
  const Done& silent = bench.await_done(1);
  EXPECT_EQ(silent.code, Code::kOk);
  EXPECT_EQ(silent.rows[0].scores[0].missing[0].head, "id");
  EXPECT_EQ(silent.rows[0].scores[0].missing[0].reason, "bad_output");
  EXPECT_EQ((*silent.rows[0].scores[0].output(1))[0], 1.0F);

  ASSERT_TRUE(bench.submit_picture(2).ok());
  const Batch second = bench.await_batch();
  const std::vector<float> short_words(3, 0.5F);
  const std::vector<float> bad_total{std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(bench.scheduler
                  ->complete(second.batch_id,
                             std::vector<OutputValues>{{"id__words", short_words}, {"sum__total", bad_total}},
                             {})
                  .ok());
  const Done& bad = bench.await_done(2);
  ASSERT_EQ(bad.rows[0].scores[0].missing.size(), 2u);
  EXPECT_EQ(bad.rows[0].scores[0].missing[0].reason, "bad_output");
  EXPECT_EQ(bad.rows[0].scores[0].missing[1].reason, "non_finite");
  EXPECT_FALSE(bad.rows[0].scores[0].output(0).has_value());
  EXPECT_FALSE(bad.rows[0].scores[0].output(1).has_value());
}

TEST(SchedulerAnswer, ANonFiniteValueHarmsItsRowOnly) {
  SchedulerOptions options;
  options.decode_workers = 1;
  EnsembleConfig config = image_ensemble();
  config.credit = 1;
  Bench bench(std::move(options), {config});
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch busy = bench.await_batch();
  for (std::uint64_t id = 2; id <= 5; ++id) ASSERT_TRUE(bench.submit_picture(id).ok());
  while (bench.scheduler->stats().ensembles[0].ready_rows < 4) std::this_thread::yield();
  bench.answer(busy);
  const Batch full = bench.await_batch();
  ASSERT_EQ(full.rows, 4u);
  testing::Answers answers = infer(full);
  answers.total[1] = std::numeric_limits<float>::infinity();
  const std::uint64_t hurt = answers.ids[1];
  ASSERT_TRUE(bench.scheduler->complete(full.batch_id, answers.outputs(), {}).ok());
  for (std::uint64_t id = 2; id <= 5; ++id) {
    const RowScores& scores = bench.await_done(id).rows[0].scores[0];
    EXPECT_EQ(testing::id_of(scores), id);
    EXPECT_EQ(scores.output(1).has_value(), id != hurt);
  }
}

TEST(SchedulerAnswer, AFailedHeadIsMissingForItsOwnReason) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch batch = bench.await_batch();
  const auto answers = infer(batch);
  const std::vector<HeadFailure> failures{{"sum", "breaker_open", "resting"}};
  ASSERT_TRUE(bench.scheduler->complete(batch.batch_id, answers.outputs(), failures).ok());
  const Done& done = bench.await_done(1);
  EXPECT_EQ(done.code, Code::kOk);
  EXPECT_EQ(done.rows[0].scores[0].missing.size(), 1u);
  EXPECT_EQ(done.rows[0].scores[0].missing[0].reason, "breaker_open");
}

TEST(SchedulerAnswer, AFailedBatchAnswersItsTicketsWithTheReason) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch batch = bench.await_batch();
  EXPECT_EQ(bench.scheduler->fail_batch(batch.batch_id, Code::kOk, "").code(), Code::kInvalidArgument);
  ASSERT_TRUE(bench.scheduler->fail_batch(batch.batch_id, Code::kUnavailable, "the server refused").ok());
  EXPECT_EQ(bench.await_done(1).code, Code::kUnavailable);
  EXPECT_EQ(bench.done[1].message, "the server refused");
  EXPECT_EQ(bench.done[1].rows[0].scores[0].missing[0].reason, "unavailable");
  EXPECT_EQ(bench.scheduler->stats().counters.batches_lost, 1u);
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, ABatchIsAnsweredOnceAndOnlyAfterItWasTaken) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  ASSERT_TRUE(bench.readable(20'000));
  EXPECT_EQ(bench.scheduler->complete(1, {}, {}).code(), Code::kInvalidArgument) << "closed, not sent";
  const Batch batch = bench.await_batch();
  EXPECT_EQ(bench.scheduler->complete(batch.batch_id + 1, {}, {}).code(), Code::kInvalidArgument);
  bench.answer(batch);
  EXPECT_EQ(bench.scheduler->complete(batch.batch_id, {}, {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.scheduler->fail_batch(batch.batch_id, Code::kInternal, "").code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.scheduler->quarantine(batch.batch_id).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.await_done(1).code, Code::kOk);
}

TEST(SchedulerAnswer, QuarantinedMemoryIsNeverHandedOutBeforeItsAnswer) {
  SchedulerOptions options;
  options.quarantine_cap = 4;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch held = bench.await_batch();
  ASSERT_TRUE(bench.scheduler->quarantine(held.batch_id).ok());
  EXPECT_EQ(bench.await_done(1).code, Code::kDeadlineExceeded);
  EXPECT_EQ(bench.scheduler->quarantine(held.batch_id).code(), Code::kInvalidArgument);
  std::vector<std::uint64_t> tickets;
  for (std::uint64_t id = 2; id <= 200; ++id) {
    ASSERT_TRUE(bench.submit_picture(id).ok());
    tickets.push_back(id);
  }
  bench.serve(tickets);
  EXPECT_EQ(infer(held).ids, std::vector<std::uint64_t>{1}) << "the slow server still reads what it was sent";
  EXPECT_EQ(bench.buffers(BufferState::kQuarantined), 1u);
  ASSERT_TRUE(bench.scheduler->complete(held.batch_id, {}, {}).ok());
  bench.expect_everything_free();
}

TEST(SchedulerAnswer, AtTheQuarantineCapAnEnsembleIsUnavailable) {
  SchedulerOptions options;
  options.quarantine_cap = 1;
  Bench bench(std::move(options), {image_ensemble("image@a"), image_ensemble("image@b")});
  ASSERT_TRUE(bench.submit_picture(1, 'P', kNever, Lane::kStandard, {"image@a"}).ok());
  const Batch held = bench.await_batch();
  ASSERT_TRUE(bench.scheduler->quarantine(held.batch_id).ok());
  EXPECT_EQ(bench.submit_picture(2, 'P', kNever, Lane::kStandard, {"image@a"}).code(), Code::kUnavailable);
  ASSERT_TRUE(bench.submit_picture(3, 'P', kNever, Lane::kStandard, {"image@a", "image@b"}).ok());
  bench.serve({3});
  EXPECT_EQ(bench.done[3].rows[0].scores[0].missing[0].reason, "unavailable");
  EXPECT_EQ(testing::id_of(bench.done[3].rows[0].scores[1]), 3u);
  ASSERT_TRUE(bench.scheduler->fail_batch(held.batch_id, Code::kUnavailable, "late").ok());
  EXPECT_TRUE(bench.submit_picture(2, 'P', kNever, Lane::kStandard, {"image@a"}).ok());
  bench.serve({2});
}

TEST(SchedulerAnswer, ADeadServersBatchesAreOverAndItsRegionIsNotReused) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch quarantined = bench.await_batch();
  ASSERT_TRUE(bench.scheduler->quarantine(quarantined.batch_id).ok());
  ASSERT_TRUE(bench.submit_picture(2).ok());
  const Batch lost = bench.await_batch();
  ASSERT_TRUE(bench.scheduler->region_lost(99).ok()) << "another generation's server";
  EXPECT_EQ(bench.buffers(BufferState::kQuarantined), 1u);
  ASSERT_TRUE(bench.scheduler->region_lost().ok());
  EXPECT_EQ(bench.await_done(2).code, Code::kUnavailable);
  EXPECT_EQ(bench.scheduler->complete(lost.batch_id, {}, {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.scheduler->complete(quarantined.batch_id, {}, {}).code(), Code::kInvalidArgument);
  bench.expect_everything_free();
  ASSERT_TRUE(bench.submit_picture(3).ok());
  const Batch next = bench.await_batch();
  EXPECT_NE(next.tensors[0].region, lost.tensors[0].region);
  bench.answer(next);
  EXPECT_EQ(bench.await_done(3).code, Code::kOk);
}

}  // namespace
}  // namespace floodgate
