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

TEST(SchedulerAdmission, WhatCouldNotBeAnsweredInTimeIsRefusedAtOnceAndSaysWhenToComeBack) {
  SchedulerOptions options;
  options.initial_model = {.fixed_ns = 100e6, .per_row_ns = 100e6};
  options.max_wait_ns = 3600 * kSecond;
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1, testing::kGated).ok());
  bench.gate.await(1);
  std::vector<std::uint64_t> tickets = {1};
  for (std::uint64_t id = 2; id < 102; ++id) {
    ASSERT_TRUE(bench.submit_picture(id).ok());
    tickets.push_back(id);
  }
  const Nanos soon = monotonic_now() + 5 * kSecond;
  const Status refused = bench.submit_picture(500, testing::kPlain, monotonic_now() + 200 * kMillisecond);
  EXPECT_EQ(refused.code(), Code::kOverloaded);
  EXPECT_NE(refused.message().find("in time"), std::string::npos) << refused.message();
  EXPECT_GT(refused.retry_after_ns(), 0);
  // What waits is due later, so earlier work goes first; LIVE does in any case.
  ASSERT_TRUE(bench.submit_picture(102, testing::kPlain, soon).ok());
  ASSERT_TRUE(bench.submit_picture(103, testing::kPlain, soon, Lane::kLive).ok());
  EXPECT_EQ(bench.scheduler->stats().counters.refused_late, 1u);
  bench.gate.open();
  tickets.insert(tickets.end(), {102, 103});
  bench.serve(tickets);
  bench.expect_everything_free();
}

TEST(SchedulerAdmission, AnItemOfSeveralPartsIsTriedWhereNothingIsKnownOfHowFastTheServerIsNow) {
  SchedulerOptions options;
  options.initial_model = {.fixed_ns = 3e9, .per_row_ns = 0};
  Bench bench(std::move(options));
  const Nanos soon = monotonic_now() + 2 * kSecond;
  ASSERT_TRUE(bench.submit_picture(1, kGated, soon).ok());
  const std::string text = "some text";
  Submission submission;
  submission.ticket = 2;
  submission.ensembles = {"text@test"};
  submission.modality = Modality::kText;
  submission.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  submission.deadline_ns = soon;
  ASSERT_TRUE(bench.scheduler->submit(submission).ok());
  submission.ticket = 3;
  EXPECT_EQ(bench.scheduler->submit(submission).code(), Code::kOverloaded) << "one trial at a time";
  bench.gate.open();
  bench.serve({1, 2});
  EXPECT_EQ(bench.done[1].code, Code::kOk);
  EXPECT_EQ(bench.done[2].code, Code::kOk);
  bench.expect_everything_free();
}

TEST(SchedulerAdmission, WhatIsLostIsGivenUpWhenItsTurnComes) {
  SchedulerOptions options;
  options.decode_workers = 1;
  options.max_wait_ns = 3600 * kSecond;
  options.probe = [](std::span<const std::uint8_t> data, const MediaLimits& limits) {
    auto info = testing::probe_picture(data, limits);
    if (info.ok() && data[0] == 'S') info.value().decode_cost_ns = 60 * kSecond;  // so it is thought
    return info;
  };
  Bench bench(std::move(options));
  ASSERT_TRUE(bench.submit_picture(1, testing::kGated).ok());
  bench.gate.await(1);
  ASSERT_TRUE(bench.submit_picture(2, 'S', monotonic_now() + 100 * kSecond).ok());
  ASSERT_TRUE(bench.submit_picture(3).ok());
  // The first decode took more than twenty times what was expected, so the next is now thought to take almost
  // twice as long.
  bench.gate.open();
  bench.serve({1, 2, 3});
  EXPECT_EQ(bench.done[2].code, Code::kDeadlineExceeded);
  EXPECT_EQ(bench.done[3].code, Code::kOk);
  EXPECT_EQ(bench.scheduler->stats().counters.dropped_early, 1u);
  bench.expect_everything_free();
}

TEST(SchedulerAdmission, WhatLiveTakesOfOneDeviceIsNoReasonToRefuseOnAnother) {
  SchedulerOptions options;
  options.initial_model = {.fixed_ns = 0, .per_row_ns = 500e6};
  options.max_wait_ns = 3600 * kSecond;
  std::vector<EnsembleConfig> ensembles = {image_ensemble("live"), image_ensemble("same"),
                                           image_ensemble("other")};
  ensembles[0].device = ensembles[1].device = "gpu:0";
  ensembles[2].device = "gpu:1";
  Bench bench(std::move(options), std::move(ensembles));
  const auto submit = [&](std::uint64_t id, const char* ensemble, Nanos wait, char kind = kPlain) {
    return bench.submit_picture(id, kind, monotonic_now() + wait, Lane::kStandard, {ensemble});
  };
  ASSERT_TRUE(bench.submit_picture(1, kPlain, kNever, Lane::kLive, {"live"}).ok());
  const Batch batch = bench.await_batch();
  ASSERT_TRUE(submit(2, "live", 2 * kSecond, kGated).ok());
  bench.gate.await(1);
  for (std::uint64_t id = 10; id < 20; ++id) {
    ASSERT_TRUE(submit(id, "same", 12 * kSecond).ok());
    ASSERT_TRUE(submit(id + 10, "other", 12 * kSecond).ok());
  }
  // The LIVE batch takes until another row has expired, four times what usage looks back on.
  EXPECT_EQ(bench.await_done(2).code, Code::kDeadlineExceeded);
  bench.answer(batch);
  EXPECT_EQ(submit(3, "same", 15 * kSecond).code(), Code::kOverloaded) << "22 s at its lane's floor";
  EXPECT_EQ(submit(4, "other", 15 * kSecond).code(), Code::kOk) << "6 s";
  bench.gate.open();
}

TEST(SchedulerAdmission, WhatExpiresWhileTheServerStandsStillTeachesAdmissionNothing) {
  for (const bool standing : {true, false}) {
    Bench bench;
    ASSERT_TRUE(bench.submit_picture(1).ok());
    const Batch held = bench.await_batch();
    if (standing) {
      ASSERT_TRUE(bench.scheduler->quarantine(held.batch_id).ok());
      EXPECT_EQ(bench.await_done(1).code, Code::kDeadlineExceeded);
    }
    EXPECT_EQ(bench.scheduler->stats().lane_guards[0], 1) << "answered by the quarantine itself";
    ASSERT_TRUE(bench.submit_picture(2, kGated, monotonic_now() + 200 * kMillisecond).ok());
    EXPECT_EQ(bench.await_done(2).code, Code::kDeadlineExceeded);
    if (standing) {
      EXPECT_EQ(bench.scheduler->stats().lane_guards[0], 1);
    } else {
      EXPECT_GT(bench.scheduler->stats().lane_guards[0], 1);
    }
    bench.gate.open();
    bench.answer(held);
    bench.expect_everything_free();
  }
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
           [](auto& options) { options.lane_floors[2] = -0.1; },
           [](auto& options) {
             options.lane_floors = {0.5, 0.5, 0.1};
           },
           [](auto& options) { options.max_wait_ns = 0; }, [](auto& options) { options.live_reserve = 1; },
           [](auto& options) { options.quarantine_cap = 0; },
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
