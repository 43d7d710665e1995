#include "floodgate/scheduler.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
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

// There it waits for those that come, though they are overdue, while that spares enough of a call's fixed
// cost.
TEST(Scheduler, OnSharedCoresABatchWaitsForItsNeighbours) {
  for (const bool shared : {false, true}) {
    EnsembleConfig ensemble = image_ensemble();
    ensemble.shares_cores = shared;
    SchedulerOptions options;
    options.decode_workers = 2;
    options.initial_model = {.fixed_ns = 2.0 * kSecond, .per_row_ns = 1e6};
    Bench bench(std::move(options), {ensemble});
    ASSERT_TRUE(bench.submit_picture(1, kGated).ok());
    bench.gate.await(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // overdue
    ASSERT_TRUE(bench.submit_picture(2).ok());
    if (!shared) {
      bench.serve({2});
    } else {
      EXPECT_FALSE(bench.readable(200));
    }
    bench.gate.open();
    if (shared) {
      const Batch batch = bench.await_batch();
      EXPECT_EQ(batch.rows, 2U);
      bench.answer(batch);
      EXPECT_EQ(bench.await_done(2).code, Code::kOk);
    } else {
      bench.serve({1});
    }
    EXPECT_EQ(bench.await_done(1).code, Code::kOk);
    bench.expect_everything_free();
  }
}

TEST(Scheduler, OnSharedCoresABatchWaitsForNoDecodeThatHangs) {
  EnsembleConfig ensemble = image_ensemble();
  ensemble.shares_cores = true;
  SchedulerOptions options;
  options.decode_workers = 2;
  Bench bench(std::move(options), {ensemble});
  ASSERT_TRUE(bench.submit_picture(1, kGated).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2).ok());
  bench.serve({2});
  bench.gate.open();
  bench.serve({1});
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

TEST(Scheduler, ARowIsNotHeldForOneThatNoWorkerIsFreeToDecode) {
  // The first of three workers is idle but only serves LIVE; the others are held by another ensemble.
  SchedulerOptions options;
  options.decode_workers = 3;
  options.initial_model = {60e9, 0};  // a minute saved by every row that joins: worth any wait
  options.max_wait_ns = 3600 * kSecond;
  Gate first;
  const DecodeFn plain = testing::fake_decode();
  Gate* held = nullptr;
  options.decode = [&, plain](auto data, const auto& info, const auto& limits, const auto& how,
                              auto targets) {
    if (data[0] == kGated) held->pass();
    if (data[0] == 'F') first.pass();
    return plain(data, info, limits, how, targets);
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

TEST(Scheduler, LiveGoesFirstAndTheOthersGetTheirFloors) {
  SchedulerOptions options;
  options.decode_workers = 1;
  options.lane_floors = {0.25, 0, 0.125};
  std::vector<std::uint64_t> order;
  const DecodeFn plain = testing::fake_decode();
  testing::Gate* gate = nullptr;
  options.decode = [&order, &gate, plain](auto data, const auto& info, const auto& limits, const auto& how,
                                          auto targets) {
    std::uint64_t id = 0;
    std::memcpy(&id, &data[1], 8);
    if (id == 999) gate->pass();
    order.push_back(id / 1000);
    return plain(data, info, limits, how, targets);
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
  // Nothing is answered before all are decoded: what the first answer teaches of costs would change them.
  while (bench.scheduler->stats().ensembles[0].waiting_rows > 0) std::this_thread::yield();
  bench.serve(tickets);
  std::array<int, 4> first = {};
  for (std::size_t i = 1; i <= 14; ++i) ++first[order[i]];
  EXPECT_NEAR(first[static_cast<int>(Lane::kLive)], 9, 1);
  EXPECT_NEAR(first[static_cast<int>(Lane::kStandard)], 3, 1);
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
