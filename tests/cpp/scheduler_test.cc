#include "floodgate/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <thread>

#include "scheduler_harness.h"

namespace floodgate {
namespace {

using testing::Bench;
using testing::Gate;
using testing::image_ensemble;
using testing::infer;
using testing::kBroken;
using testing::kGated;
using testing::kPlain;
using testing::picture;
using testing::text_ensemble;

TEST(Scheduler, OnePictureComesBackWithItsOwnScores) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(0x1122334455667788).ok());
  const Batch batch = bench.await_batch();
  EXPECT_EQ(batch.rows, 1u);
  EXPECT_EQ(batch.ensemble, "image@test");
  EXPECT_EQ(batch.generation, 1u);
  bench.answer(batch);
  const Done& done = bench.await_done(0x1122334455667788);
  EXPECT_EQ(done.code, Code::kOk);
  ASSERT_EQ(done.rows.size(), 1u);
  EXPECT_EQ(testing::id_of(done.rows[0].scores[0]), 0x1122334455667788u);
  EXPECT_EQ((*done.rows[0].scores[0].output(1))[0], 24.0F);
  EXPECT_TRUE(done.rows[0].scores[0].missing.empty());
  EXPECT_EQ(done.frames_sampled, 1u);
  EXPECT_EQ(done.copied_bytes, 9u);
  EXPECT_EQ(done.info->width, 2u);
  EXPECT_FALSE(bench.readable(0)) << "nothing is left to fetch";
  bench.expect_everything_free();
}

TEST(Scheduler, TheDescriptorIsReadableExactlyWhileSomethingWaits) {
  Bench bench;
  EXPECT_FALSE(bench.readable(0));
  ASSERT_TRUE(bench.submit_picture(1).ok());
  ASSERT_TRUE(bench.readable(20'000));
  const auto batches = bench.scheduler->take_batches();
  EXPECT_FALSE(bench.readable(0));
  bench.answer(batches.at(0));
  EXPECT_TRUE(bench.readable(0));
  EXPECT_EQ(bench.scheduler->poll_done().size(), 1u);
  EXPECT_FALSE(bench.readable(0));
}

TEST(Scheduler, EncodedBytesAreCopiedOnceAndFreedWithTheDecode) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch batch = bench.await_batch();
  const Stats stats = bench.scheduler->stats();
  EXPECT_EQ(stats.counters.bytes_copied, 9u);
  EXPECT_EQ(stats.arena_used_bytes, 0u) << "pixels wait in the batch, encoded bytes no longer";
  bench.answer(batch);
}

TEST(Scheduler, OneDecodeServesEveryEnsemble) {
  Bench bench({}, {image_ensemble("image@a"), image_ensemble("image@b")});
  ASSERT_TRUE(bench.submit_picture(77, 'P', kNever, Lane::kLive, {"image@a", "image@b"}).ok());
  bench.serve({77});
  EXPECT_EQ(bench.scheduler->stats().counters.pictures_decoded, 1u);
  ASSERT_EQ(bench.done[77].rows[0].scores.size(), 2u);
  for (const RowScores& scores : bench.done[77].rows[0].scores) EXPECT_EQ(testing::id_of(scores), 77u);
  bench.expect_everything_free();
}

TEST(Scheduler, ABrokenPictureFailsAloneAndLeavesNoHole) {
  SchedulerOptions options;
  options.decode_workers = 2;
  Bench bench(std::move(options));
  std::vector<std::uint64_t> tickets;
  for (std::uint64_t id = 1; id <= 60; ++id) {
    ASSERT_TRUE(bench.submit_picture(id, id % 3 == 0 ? kBroken : 'P').ok());
    tickets.push_back(id);
  }
  bench.serve(tickets);
  for (const std::uint64_t id : tickets) {
    const Done& done = bench.done[id];
    EXPECT_EQ(done.code, id % 3 == 0 ? Code::kInvalidContent : Code::kOk);
    if (id % 3 == 0) {
      EXPECT_EQ(done.message, "the picture is broken");
      EXPECT_TRUE(done.rows.empty());
    } else {
      EXPECT_EQ(testing::id_of(done.rows[0].scores[0]), id);
    }
  }
  EXPECT_EQ(bench.scheduler->stats().counters.rows_batched, 40u);
  bench.expect_everything_free();
}

TEST(Scheduler, ABatchNeverWaitsForASlowNeighboursDecode) {
  SchedulerOptions options;
  options.decode_workers = 2;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1, kGated).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2).ok());
  const Batch batch = bench.await_batch();
  EXPECT_EQ(infer(batch).ids, std::vector<std::uint64_t>{2});
  bench.answer(batch);
  EXPECT_EQ(bench.await_done(2).code, Code::kOk);
  EXPECT_GE(bench.scheduler->stats().counters.rows_moved, 1u);
  bench.gate.open();
  bench.serve({1});
  EXPECT_EQ(testing::id_of(bench.done[1].rows[0].scores[0]), 1u);
  bench.expect_everything_free();
}

TEST(Scheduler, CreditAndBuffersHoldTheRestBackAsEncodedBytes) {
  Bench bench;
  for (std::uint64_t id = 1; id <= 40; ++id) ASSERT_TRUE(bench.submit_picture(id).ok());
  ASSERT_TRUE(bench.await([&] { return bench.batches.size() == 2; }));
  while (bench.scheduler->stats().ensembles[0].ready_rows < 4) std::this_thread::yield();
  EXPECT_FALSE(bench.readable(0)) << "two batches in flight are all the credit there is";
  const Stats stats = bench.scheduler->stats();
  EXPECT_GE(stats.queued_rows[0], 40u - 3 * 4);
  EXPECT_EQ(stats.arena_used_bytes, stats.queued_rows[0] * kArenaAlignment);
  std::vector<std::uint64_t> tickets(40);
  for (std::uint64_t id = 1; id <= 40; ++id) tickets[id - 1] = id;
  bench.serve(tickets);
  bench.expect_everything_free();
}

TEST(Scheduler, LongTextIsSplitAndEveryRowSaysWhichBytesItIs) {
  Bench bench;
  const std::string text = "the quick brown fox jumps over the lazy dog and then some more of it";
  ASSERT_TRUE(bench.submit_text(5, text).ok());
  ASSERT_TRUE(bench.submit_text(6, "short").ok());
  bench.serve({5, 6});
  const Done& done = bench.done[5];
  EXPECT_EQ(done.code, Code::kOk);
  EXPECT_FALSE(done.info.has_value());
  std::uint32_t next = 0;
  for (const DoneRow& row : done.rows) {
    EXPECT_EQ(row.span.start, next);
    next = row.span.end;
    float total = 0;
    for (std::uint32_t i = row.span.start; i < row.span.end; ++i) total += static_cast<float>(text[i]);
    EXPECT_EQ((*row.scores[0].output(0))[0], total);
  }
  EXPECT_EQ(next, text.size());
  EXPECT_GT(done.rows.size(), 4u) << "more rows than a batch holds";
  bench.expect_everything_free();
}

TEST(Scheduler, ATextBatchIsAsWideAsItsLongestRowNeeds) {
  Bench bench;
  ASSERT_TRUE(bench.submit_text(1, "tiny").ok());
  const Batch narrow = bench.await_batch();
  EXPECT_EQ(narrow.tensors[0].shape, (std::vector<std::int64_t>{1, 8}));
  EXPECT_EQ(infer(narrow).texts, std::vector<std::string>{"tiny"});
  bench.answer(narrow);
  ASSERT_TRUE(bench.submit_text(2, "a longer one").ok());
  const Batch wide = bench.await_batch();
  EXPECT_EQ(wide.tensors[0].shape, (std::vector<std::int64_t>{1, 16}));
  bench.answer(wide);
}

TEST(Scheduler, TextEnsemblesWithOtherRowLengthsGetTheirOwnRows) {
  Bench bench({}, {text_ensemble("text@8", {8}), text_ensemble("text@16", {16})});
  ASSERT_TRUE(bench.submit_text(1, "aaaa bbbb cccc ", {"text@8", "text@16"}).ok());
  bench.serve({1});
  std::map<std::string, std::vector<TextSpan>> rows;
  for (const DoneRow& row : bench.done[1].rows) {
    ASSERT_EQ(row.scores.size(), 1u);
    rows[row.scores[0].config->name].push_back(row.span);
  }
  EXPECT_EQ(rows["text@8"], (std::vector<TextSpan>{{0, 5}, {5, 10}, {10, 15}}));
  EXPECT_EQ(rows["text@16"], (std::vector<TextSpan>{{0, 15}}));
}

TEST(Scheduler, RefusalsNameTheProblemAndLeaveNothingBehind) {
  SchedulerOptions options;
  options.media_limits.max_bytes = 64;
  options.max_text_bytes = 32;
  Bench bench(std::move(options));
  const auto data = testing::picture(1);
  Submission submission;
  submission.ticket = 1;
  submission.data = data;
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kInvalidArgument) << "no ensemble";
  submission.ensembles = {"nobody"};
  EXPECT_EQ(bench.scheduler->submit(submission).message(), "there is no ensemble nobody in generation 1");
  submission.ensembles = {"text@test"};
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kInvalidArgument)
      << "a picture for a text head";
  submission.ensembles = {"image@test", "image@test"};
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kInvalidArgument) << "twice";
  submission.ensembles = {"image@test"};
  submission.deadline_ns = 1;
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kDeadlineExceeded);
  submission.deadline_ns = kNever;
  const auto big = testing::picture(1, 'P', 64);
  submission.data = big;
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kTooLarge);
  submission.data = {};
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kInvalidContent);
  EXPECT_EQ(bench.submit_text(1, "\xFF").code(), Code::kInvalidContent);
  EXPECT_EQ(bench.submit_text(1, "").code(), Code::kInvalidContent);
  EXPECT_EQ(bench.submit_text(1, std::string(33, 'x')).code(), Code::kTooLarge);
  EXPECT_TRUE(bench.scheduler->poll_done().empty());
  const Stats stats = bench.scheduler->stats();
  EXPECT_EQ(stats.counters.refused[static_cast<std::size_t>(Code::kTooLarge)], 2u);
  EXPECT_EQ(stats.counters.tickets, 0u);
  EXPECT_EQ(stats.counters.bytes_copied, 0u);
  bench.expect_everything_free();
}

TEST(Scheduler, AnOpenTicketsIdIsTakenUntilItsAnswer) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  EXPECT_EQ(bench.submit_picture(1).code(), Code::kInvalidArgument);
  bench.serve({1});
  bench.done.clear();
  EXPECT_TRUE(bench.submit_picture(1).ok());
  bench.serve({1});
}

TEST(Scheduler, AFullQueueRefusesButKeepsTheReserveForLive) {
  SchedulerOptions options;
  options.max_queue_rows = 10;
  options.live_reserve = 0.2;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(100, kGated).ok());
  bench.gate.await(1);
  for (std::uint64_t id = 1; id <= 8; ++id) ASSERT_TRUE(bench.submit_picture(id).ok());
  EXPECT_EQ(bench.submit_picture(9).code(), Code::kOverloaded);
  EXPECT_TRUE(bench.submit_picture(9, 'P', kNever, Lane::kLive).ok());
  EXPECT_TRUE(bench.submit_picture(10, 'P', kNever, Lane::kLive).ok());
  EXPECT_EQ(bench.submit_picture(11, 'P', kNever, Lane::kLive).code(), Code::kOverloaded);
  bench.gate.open();
  bench.serve({100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

TEST(Scheduler, AFullArenaIsOverload) {
  SchedulerOptions options;
  options.arena_bytes = 4 * kArenaAlignment;
  options.live_reserve = 0;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(100, kGated).ok());
  bench.gate.await(1);
  for (std::uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(bench.submit_picture(id).ok());
  EXPECT_EQ(bench.submit_picture(4).code(), Code::kOverloaded);
  bench.gate.open();
  bench.serve({100, 1, 2, 3});
  EXPECT_TRUE(bench.submit_picture(4).ok());
  bench.serve({4});
}

TEST(Scheduler, WhatCouldNeverFitIsTooLargeRatherThanOverload) {
  SchedulerOptions options;
  options.max_queue_rows = 2;
  options.arena_bytes = 4 * kArenaAlignment;
  options.live_reserve = 0;
  Bench bench(std::move(options));
  EXPECT_EQ(bench.submit_text(1, std::string(33, 'x')).code(), Code::kTooLarge);  // 3 rows of 16
  EXPECT_TRUE(bench.submit_text(2, std::string(32, 'x')).ok());
  const auto data = picture(3, kPlain, 4 * kArenaAlignment);
  Submission submission;
  submission.ticket = 3;
  submission.ensembles = {"image@test"};
  submission.data = data;
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kTooLarge);
  bench.serve({2});
}

TEST(Scheduler, ARowIsNotHeldForOneThatNoWorkerIsFreeToDecode) {
  // The first of three workers is idle but only serves LIVE; the others are held by another ensemble.
  SchedulerOptions options;
  options.decode_workers = 3;
  options.initial_model = {60e9, 0};  // a minute saved by every row that joins: worth any wait
  Gate first;
  const DecodeFn plain = testing::decode_picture();
  Gate* held = nullptr;
  options.decode = [&, plain](auto data, const auto& info, const auto& limits, auto targets) {
    if (data[0] == kGated) held->pass();
    if (data[0] == 'F') first.pass();
    return plain(data, info, limits, targets);
  };
  Bench bench(std::move(options), {image_ensemble(), image_ensemble("image@other")});
  held = &bench.gate;
  const auto other = [&](std::uint64_t id, Nanos deadline) {
    return bench.submit_picture(id, kGated, deadline, Lane::kStandard, {"image@other"});
  };
  ASSERT_TRUE(bench.submit_picture(1, 'F').ok());
  ASSERT_TRUE(other(2, kNever).ok());
  first.await(1);
  bench.gate.await(1);
  ASSERT_TRUE(other(3, kNever - 1).ok());  // next on the worker that 1 holds
  ASSERT_TRUE(bench.submit_picture(4, kGated).ok());
  first.open();
  bench.gate.await(2);
  const Batch batch = bench.await_batch();
  EXPECT_EQ(batch.rows, 1u);
  bench.answer(batch);
  bench.gate.open();
  bench.serve({1, 2, 3, 4});
}

TEST(Scheduler, ADeadlineIsAnsweredInEveryStage) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Bench bench(std::move(options));
  // In flight, and its batch is never answered.
  const Nanos soon = monotonic_now() + 200 * kMillisecond;
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

TEST(Scheduler, TheDeadlineKeepsWhatOtherEnsemblesSaid) {
  Bench bench({}, {image_ensemble("image@a"), image_ensemble("image@b")});
  const Nanos soon = monotonic_now() + 200 * kMillisecond;
  ASSERT_TRUE(bench.submit_picture(9, 'P', soon, Lane::kStandard, {"image@a", "image@b"}).ok());
  ASSERT_TRUE(bench.await([&] { return bench.batches.size() == 2; }));
  const bool first_is_a = bench.batches[0].ensemble == "image@a";
  bench.answer(bench.batches[first_is_a ? 0 : 1]);
  const Done& done = bench.await_done(9);
  EXPECT_EQ(done.code, Code::kDeadlineExceeded);
  EXPECT_EQ(testing::id_of(done.rows[0].scores[0]), 9u);
  EXPECT_FALSE(done.rows[0].scores[1].output(0).has_value());
  bench.answer(bench.batches[first_is_a ? 1 : 0]);
  bench.expect_everything_free();
}

TEST(Scheduler, CancellingIsCountedByStageAndAnsweredOnce) {
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

TEST(Scheduler, ABatchWhoseRowsAllDiedIsNeverSent) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  ASSERT_TRUE(bench.readable(20'000)) << "closed, not taken";
  ASSERT_TRUE(bench.scheduler->cancel(1));
  EXPECT_TRUE(bench.scheduler->take_batches().empty());
  EXPECT_EQ(bench.scheduler->stats().counters.batches_dead_unsent, 1u);
  EXPECT_EQ(bench.await_done(1).code, Code::kCancelled);
  bench.expect_everything_free();
}

TEST(Scheduler, WrongSizesAndNonFiniteValuesNeverBecomeScores) {
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

TEST(Scheduler, ANonFiniteValueHarmsItsRowOnly) {
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

TEST(Scheduler, AFailedHeadIsMissingForItsOwnReason) {
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

TEST(Scheduler, AFailedBatchAnswersItsTicketsWithTheReason) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch batch = bench.await_batch();
  EXPECT_EQ(bench.scheduler->fail_batch(batch.batch_id, Code::kOk, "").code(), Code::kInvalidArgument);
  ASSERT_TRUE(bench.scheduler->fail_batch(batch.batch_id, Code::kUnavailable, "the server refused").ok());
  EXPECT_EQ(bench.await_done(1).code, Code::kUnavailable);
  EXPECT_EQ(bench.done[1].message, "the server refused");
  EXPECT_EQ(bench.done[1].rows[0].scores[0].missing[0].reason, "unavailable");
  bench.expect_everything_free();
}

TEST(Scheduler, ABatchIsAnsweredOnceAndOnlyAfterItWasTaken) {
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

TEST(Scheduler, QuarantinedMemoryIsNeverHandedOutBeforeItsAnswer) {
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

TEST(Scheduler, AtTheQuarantineCapAnEnsembleIsUnavailable) {
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

TEST(Scheduler, ADeadServersBatchesAreOverAndItsRegionIsNotReused) {
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

TEST(Scheduler, TicketsFinishOnTheGenerationThatTookThem) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  const Batch old = bench.await_batch();
  EXPECT_EQ(bench.scheduler->configure(1, {image_ensemble()}).code(), Code::kInvalidArgument);
  ASSERT_TRUE(bench.scheduler->configure(2, {image_ensemble("image@new")}).ok());
  EXPECT_EQ(bench.submit_picture(2).code(), Code::kInvalidArgument) << "the old ensemble takes no more";
  ASSERT_TRUE(bench.submit_picture(2, 'P', kNever, Lane::kStandard, {"image@new"}).ok());
  const Batch fresh = bench.await_batch();
  EXPECT_EQ(fresh.generation, 2u);
  bench.answer(fresh);
  EXPECT_TRUE(bench.scheduler->stats().ensembles[0].retired);
  bench.answer(old);
  EXPECT_EQ(bench.await_done(1).code, Code::kOk);
  while (bench.scheduler->stats().ensembles.size() > 1) std::this_thread::yield();
  // Its memory goes after it has left the statistics: unmapping needs no lock.
  while (testing::Mapping(old.tensors[0].region).ok()) std::this_thread::yield();
}

TEST(Scheduler, ConfigurationsThatCannotBeServedAreRefusedByName) {
  Bench bench;
  std::uint64_t generation = 10;
  const auto refusal = [&](const std::function<void(EnsembleConfig&)>& spoil) {
    EnsembleConfig config = image_ensemble("image@bad");
    spoil(config);
    const Status status = bench.scheduler->configure(generation++, {config});
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(refusal([](auto& config) { config.max_batch = 0; }),
            "ensemble image@bad: max_batch must be from 1 to 4096");
  EXPECT_EQ(refusal([](auto& config) { config.buffers = config.credit; }),
            "ensemble image@bad: buffers must be above credit and at most 1024");
  EXPECT_EQ(refusal([](auto& config) { config.outputs.pop_back(); }),
            "ensemble image@bad: head sum has no output");
  EXPECT_EQ(refusal([](auto& config) { config.outputs[0].head = "who"; }),
            "ensemble image@bad: output id__words is of an unknown head, who");
  refusal([](auto& config) { config.tensors[0].view = TextView{{8}}; });
  refusal([](auto& config) { config.tensors[1].name = config.tensors[0].name; });
  refusal([](auto& config) { config.tensors[0].view = testing::view(0, 4); });
  EXPECT_EQ(bench.scheduler->configure(generation++, {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(bench.scheduler->configure(generation++, {image_ensemble(), image_ensemble()}).code(),
            Code::kInvalidArgument);
  ASSERT_TRUE(bench.submit_picture(1).ok()) << "the first configuration still serves";
  bench.serve({1});
}

TEST(Scheduler, DrainingRefusesTheNewAndFinishesTheRest) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  bench.scheduler->drain();
  EXPECT_EQ(bench.submit_picture(2).code(), Code::kUnavailable);
  EXPECT_EQ(bench.scheduler->configure(5, {image_ensemble()}).code(), Code::kUnavailable);
  EXPECT_FALSE(bench.scheduler->stats().drained);
  bench.serve({1});
  EXPECT_TRUE(bench.scheduler->stats().drained);
}

TEST(Scheduler, OptionsOutOfRangeAreRefused) {
  for (const auto& spoil : std::vector<std::function<void(SchedulerOptions&)>>{
           [](auto& options) { options.decode_workers = 0; }, [](auto& options) { options.arena_bytes = 0; },
           [](auto& options) { options.lane_weights[2] = 0; },
           [](auto& options) { options.live_reserve = 1; }, [](auto& options) { options.quarantine_cap = 0; },
           [](auto& options) { options.max_queue_rows = 0; },
           [](auto& options) { options.initial_model.fixed_ns = -1; },
           [](auto& options) { options.initial_model.per_row_ns = std::numeric_limits<double>::infinity(); },
           [](auto& options) {
             options.initial_model.fixed_ns = std::numeric_limits<double>::quiet_NaN();
           }}) {
    SchedulerOptions options;
    spoil(options);
    EXPECT_EQ(Scheduler::create(std::move(options)).status().code(), Code::kInvalidArgument);
  }
}

TEST(Scheduler, ItsThreadsAreNamedAndLeaveSignalsToTheirHost) {
  SchedulerOptions options;
  options.decode_workers = 2;
  const Bench bench(std::move(options));
  std::multiset<std::string> names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (!name.starts_with("fg-")) continue;
    names.insert(name);
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:")) continue;
      EXPECT_NE(std::stoull(line.substr(7), nullptr, 16) >> (SIGTERM - 1) & 1, 0u) << name;
    }
  }
  EXPECT_EQ(names, (std::multiset<std::string>{"fg-decode", "fg-decode", "fg-dispatch"}));
}

TEST(Scheduler, NothingIsServedBeforeAConfiguration) {
  auto scheduler = std::move(Scheduler::create({})).value();
  Submission submission;
  submission.ensembles = {"image@test"};
  EXPECT_EQ(scheduler->submit(submission).code(), Code::kInvalidArgument);
}

TEST(Scheduler, LanesShareTheWorkersByWeightAndNoneStarves) {
  SchedulerOptions options;
  options.decode_workers = 1;
  options.lane_weights = {2, 4, 1};
  std::vector<std::uint64_t> order;
  const DecodeFn plain = testing::decode_picture();
  testing::Gate* gate = nullptr;
  options.decode = [&order, &gate, plain](auto data, const auto& info, const auto& limits, auto targets) {
    std::uint64_t id = 0;
    std::memcpy(&id, &data[1], 8);
    if (id == 999) gate->pass();
    order.push_back(id / 1000);
    return plain(data, info, limits, targets);
  };
  testing::Gate held;
  gate = &held;
  EnsembleConfig config = image_ensemble();
  config.max_batch = 64;
  Bench bench(std::move(options), {config});
  ASSERT_TRUE(bench.submit_picture(999).ok());
  held.await(1);
  std::vector<std::uint64_t> tickets{999};
  for (std::uint64_t i = 0; i < 14; ++i) {
    for (const Lane lane : {Lane::kStandard, Lane::kLive, Lane::kBulk}) {
      const std::uint64_t id = 1000 * static_cast<std::uint64_t>(lane) + i;
      ASSERT_TRUE(bench.submit_picture(id, 'P', kNever, lane).ok());
      tickets.push_back(id);
    }
  }
  held.open();
  bench.serve(tickets);
  std::array<int, 4> first = {};
  for (std::size_t i = 1; i <= 14; ++i) ++first[order[i]];
  EXPECT_NEAR(first[static_cast<int>(Lane::kLive)], 8, 1);
  EXPECT_NEAR(first[static_cast<int>(Lane::kStandard)], 4, 1);
  EXPECT_NEAR(first[static_cast<int>(Lane::kBulk)], 2, 1);
}

TEST(Scheduler, DestructionWithWorkEverywhereDoesNotHang) {
  SchedulerOptions options;
  options.decode_workers = 2;
  Bench bench(std::move(options));
  for (std::uint64_t id = 1; id <= 50; ++id) {
    ASSERT_TRUE(bench.submit_picture(id).ok());
    ASSERT_TRUE(bench.submit_text(1000 + id, "some text that needs several rows of it").ok());
  }
  (void)bench.await_batch();
  ASSERT_TRUE(bench.submit_picture(99, kGated, kNever, Lane::kLive).ok());
}

}  // namespace
}  // namespace floodgate
