#include <gtest/gtest.h>

#include <limits>

#include "floodgate/scheduler.h"
#include "scheduler_harness.h"

namespace floodgate {
namespace {

using testing::Bench;
using testing::image_ensemble;
using testing::kGated;
using testing::kPlain;
using testing::picture;

TEST(SchedulerAdmission, RefusalsNameTheProblemAndLeaveNothingBehind) {
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

TEST(SchedulerAdmission, AnOpenTicketsIdIsTakenUntilItsAnswer) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  EXPECT_EQ(bench.submit_picture(1).code(), Code::kInvalidArgument);
  bench.serve({1});
  bench.done.clear();
  EXPECT_TRUE(bench.submit_picture(1).ok());
  bench.serve({1});
}

TEST(SchedulerAdmission, AFullQueueRefusesButKeepsTheReserveForLive) {
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

TEST(SchedulerAdmission, AFullArenaIsOverload) {
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

TEST(SchedulerAdmission, WhatCouldNeverFitIsTooLargeRatherThanOverload) {
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

TEST(SchedulerAdmission, ConfigurationsThatCannotBeServedAreRefusedByName) {
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

TEST(SchedulerAdmission, DrainingRefusesTheNewAndFinishesTheRest) {
  Bench bench;
  ASSERT_TRUE(bench.submit_picture(1).ok());
  bench.scheduler->drain();
  EXPECT_EQ(bench.submit_picture(2).code(), Code::kUnavailable);
  EXPECT_EQ(bench.scheduler->configure(5, {image_ensemble()}).code(), Code::kUnavailable);
  EXPECT_FALSE(bench.scheduler->stats().drained);
  bench.serve({1});
  EXPECT_TRUE(bench.scheduler->stats().drained);
}

TEST(SchedulerAdmission, OptionsOutOfRangeAreRefused) {
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

TEST(SchedulerAdmission, NothingIsServedBeforeAConfiguration) {
  auto scheduler = std::move(Scheduler::create({})).value();
  Submission submission;
  submission.ensembles = {"image@test"};
  EXPECT_EQ(scheduler->submit(submission).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace floodgate
