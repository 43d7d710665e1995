#include "floodgate/batch_rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace floodgate {
namespace {

constexpr Nanos kMs = kMillisecond;
constexpr Nanos kNow = 1000 * kMs;
constexpr ServiceModel kModel{.fixed_ns = 2e6, .per_row_ns = 3e6};  // L(n) = 2 ms + 3 ms * n

struct Case {
  std::string name;
  std::vector<Nanos> deadlines;  // ms from now
  std::uint32_t capacity = 8;
  std::uint32_t in_flight = 0;
  std::uint32_t credit = 2;
  Nanos oldest_ready = 0;  // ms from now
  Nanos next_ready = kNever;
  Nanos device_free = 0;
  std::uint32_t coming = 0;
  Decision expected;
};

constexpr Decision wait(Nanos until_us) {
  return {Action::kWait, until_us == kNever ? kNever : kNow + until_us * kMicrosecond, 0};
}
constexpr Decision cut(std::uint32_t rows) { return {Action::kCut, kNever, rows}; }
constexpr Decision drop(std::uint32_t rows) { return {Action::kDrop, kNever, rows}; }

TEST(BatchRule, DecidesAsDocumented) {
  const Case cases[] = {
      {.name = "nothing ready", .deadlines = {}, .expected = wait(kNever)},
      {.name = "idle device goes at once", .deadlines = {100}, .expected = cut(1)},
      {.name = "dead rows are dropped", .deadlines = {-5, 0, 10}, .expected = drop(2)},
      {.name = "no credit waits for the next death",
       .deadlines = {30, 50},
       .in_flight = 2,
       .expected = wait(30'000)},
      {.name = "a full buffer goes at once to an idle device",
       .deadlines = {100, 100},
       .capacity = 2,
       .next_ready = 1,
       .expected = cut(2)},
      {.name = "a full buffer is held for a busy one",
       .deadlines = {100, 100},
       .capacity = 2,
       .in_flight = 1,
       .device_free = 90,
       .expected = wait(88'700)},
      {.name = "a row due within a is worth the wait",
       .deadlines = {100},
       .next_ready = 1,
       .expected = wait(1'000)},
      {.name = "a row due later than a is not", .deadlines = {100}, .next_ready = 2, .expected = cut(1)},
      {.name = "an overdue row is not waited for", .deadlines = {100}, .next_ready = 0, .expected = cut(1)},
      {.name = "patience runs from the oldest row",
       .deadlines = {100, 100},
       .oldest_ready = -1,
       .next_ready = 1,
       .expected = cut(2)},
      {.name = "no wait that breaks the deadline", .deadlines = {8}, .next_ready = 1, .expected = cut(1)},
      {.name = "a wait that just meets the deadline",
       .deadlines = {9},
       .next_ready = 1,
       .expected = wait(1'000)},
      {.name = "the most rows that meet the deadline", .deadlines = {11, 50, 50, 50, 50}, .expected = cut(3)},
      {.name = "hopeless rows make room for the others", .deadlines = {1, 50, 50}, .expected = drop(1)},
      {.name = "no room, so nothing is given up yet",
       .deadlines = {1, 50},
       .in_flight = 2,
       .expected = wait(1'000)},
      {.name = "only hopeless rows go all the same", .deadlines = {1, 2}, .expected = cut(2)},
      {.name = "busy device: hold until just before it is free",
       .deadlines = {100},
       .in_flight = 1,
       .device_free = 20,
       .expected = wait(16'900)},
      {.name = "busy device about to be free",
       .deadlines = {100},
       .in_flight = 1,
       .device_free = 0,
       .expected = cut(1)},
      {.name = "busy device late against its prediction",
       .deadlines = {100},
       .in_flight = 1,
       .device_free = -7,
       .expected = cut(1)},
      {.name = "shared cores: a late row is worth as much as the fixed cost it spares those behind",
       .deadlines = {100},
       .next_ready = 4,
       .coming = 2,
       .expected = wait(4'000)},
      {.name = "shared cores: and no more",
       .deadlines = {100},
       .next_ready = 5,
       .coming = 2,
       .expected = cut(1)},
      {.name = "shared cores: each ready row loses the wait",
       .deadlines = {100, 100},
       .next_ready = 3,
       .coming = 2,
       .expected = cut(2)},
      {.name = "shared cores: an overdue row may come at any moment",
       .deadlines = {100},
       .next_ready = -3,
       .coming = 1,
       .expected = wait(500)},
      {.name = "shared cores: no longer than a full batch takes",
       .deadlines = {100},
       .oldest_ready = -25,
       .next_ready = 2,
       .coming = 9,
       .expected = cut(1)},
      {.name = "shared cores: no wait that breaks the deadline",
       .deadlines = {9},
       .next_ready = 2,
       .coming = 9,
       .expected = cut(1)},
      {.name = "shared cores: nobody knows when", .deadlines = {100}, .coming = 9, .expected = cut(1)},
      {.name = "shared cores: a full buffer goes at once",
       .deadlines = {100, 100},
       .capacity = 2,
       .next_ready = 1,
       .coming = 9,
       .expected = cut(2)},
      {.name = "shared cores: the device comes free first",
       .deadlines = {100},
       .in_flight = 1,
       .device_free = -7,
       .coming = 1,
       .expected = wait(19'000)},
      {.name = "shared cores: but for no deadline's sake",
       .deadlines = {12},
       .in_flight = 1,
       .device_free = 5,
       .coming = 1,
       .expected = wait(1'900)},
      {.name = "no deadline at all", .deadlines = {kNever, kNever}, .expected = cut(2)},
  };
  for (const Case& each : cases) {
    std::vector<Nanos> deadlines;
    const auto at = [](Nanos ms) { return ms == kNever ? kNever : kNow + ms * kMs; };
    std::ranges::transform(each.deadlines, std::back_inserter(deadlines), at);
    const QueueSummary queue{
        deadlines,           each.capacity,        each.in_flight, each.credit, at(each.oldest_ready),
        at(each.next_ready), at(each.device_free), each.coming};
    EXPECT_EQ(decide(queue, kModel, kNow), each.expected) << each.name;
  }
}

TEST(BatchRule, HoldsItsPromisesEverywhere) {
  std::mt19937_64 random(11);
  const auto pick = [&](Nanos low, Nanos high) {
    return low + static_cast<Nanos>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  for (int round = 0; round < 200'000; ++round) {
    const auto capacity = static_cast<std::uint32_t>(pick(1, 16));
    std::vector<Nanos> deadlines(static_cast<std::size_t>(pick(0, capacity)));
    for (Nanos& deadline : deadlines) deadline = pick(0, 20) == 0 ? kNever : kNow + pick(-2 * kMs, 60 * kMs);
    std::ranges::sort(deadlines);
    const ServiceModel model{static_cast<double>(pick(0, 5 * kMs)), static_cast<double>(pick(0, 5 * kMs)),
                             static_cast<double>(pick(100, 200)) / 100};
    QueueSummary queue{deadlines, capacity, static_cast<std::uint32_t>(pick(0, 3)),
                       static_cast<std::uint32_t>(pick(1, 3))};
    queue.oldest_ready_ns = kNow - pick(0, 5 * kMs);
    queue.next_ready_ns = pick(0, 1) == 0 ? kNever : kNow + pick(-kMs, 10 * kMs);
    queue.device_free_ns = kNow + pick(-5 * kMs, 40 * kMs);
    if (pick(0, 1) == 0) queue.coming = static_cast<std::uint32_t>(pick(0, 20));
    const Decision decision = decide(queue, model, kNow);

    const auto ready = static_cast<std::uint32_t>(deadlines.size());
    ASSERT_EQ(decision, decide(queue, model, kNow)) << "pure";
    const auto dead = static_cast<std::uint32_t>(
        std::ranges::count_if(deadlines, [](Nanos deadline) { return deadline <= kNow; }));
    const Nanos starts = queue.in_flight == 0 ? kNow : std::max(kNow, queue.device_free_ns);
    const auto hopeless = static_cast<std::uint32_t>(std::ranges::count_if(
        deadlines, [&](Nanos deadline) { return deadline < starts + model.service_ns(1); }));
    if (decision.action == Action::kDrop) {
      if (dead > 0) {
        ASSERT_EQ(decision.rows, dead);
        continue;
      }
      ASSERT_LT(decision.rows, ready) << "some go, or the model is never put right";
      if (hopeless > 0) {
        ASSERT_EQ(decision.rows, hopeless);
      } else {
        ASSERT_GT(starts + model.service_ns(ready), deadlines.front()) << "all could have gone together";
      }
      continue;
    }
    ASSERT_EQ(dead, 0u);
    if (decision.action == Action::kWait) {
      ASSERT_GT(decision.until_ns, kNow) << "a wait makes progress";
      if (ready == 0) continue;
      ASSERT_TRUE(ready < capacity || queue.in_flight > 0);
      if (queue.in_flight >= queue.credit) {
        ASSERT_EQ(decision.until_ns, deadlines.front());
        continue;
      }
      // Waiting never costs a row that going now would have served.
      const Nanos start = queue.in_flight == 0 ? kNow : std::max(kNow, queue.device_free_ns);
      const Nanos later = queue.in_flight == 0 ? decision.until_ns : std::max(decision.until_ns, start);
      for (const Nanos deadline : deadlines) {
        if (start + model.promise_ns(ready) > deadline) continue;
        ASSERT_LE(later + model.promise_ns(ready), deadline);
      }
      continue;
    }
    ASSERT_LT(queue.in_flight, queue.credit);
    ASSERT_GE(decision.rows, 1u);
    ASSERT_LE(decision.rows, ready);
    const Nanos earliest = deadlines.front();
    if (earliest != kNever && starts + model.service_ns(1) <= earliest) {
      ASSERT_LE(starts + model.service_ns(decision.rows), earliest);
      if (decision.rows < ready) {
        ASSERT_GT(starts + model.service_ns(decision.rows + 1), earliest) << "the most";
      }
    }
  }
}

TEST(BatchRule, GivesUpOneRowWhereThatSavesTheTimeOfMany) {
  constexpr ServiceModel kDearCall{.fixed_ns = 48e6, .per_row_ns = 14e6};
  std::vector<Nanos> deadlines(8, kNow + 500 * kMs);
  deadlines[0] = kNow + 70 * kMs;
  QueueSummary queue{deadlines, 8, 0, 2};
  EXPECT_EQ(decide(queue, kDearCall, kNow), drop(1));
  deadlines[0] = kNow + 170 * kMs;
  queue.ready_deadlines = deadlines;
  EXPECT_EQ(decide(queue, kDearCall, kNow), cut(8));
  const std::vector<Nanos> few = {kNow + 70 * kMs, kNow + 500 * kMs};
  queue.ready_deadlines = few;
  EXPECT_EQ(decide(queue, kDearCall, kNow), cut(1)) << "nothing much to save";
}

// What the rule does over time: rows become ready at given times, one device serves batches in order.
struct Course {
  std::vector<std::uint32_t> batches;  // rows of each
  std::vector<Nanos> cut_ns;           // when each was closed
};

Course simulate(const std::vector<Nanos>& ready_ns, std::uint32_t capacity, const ServiceModel& model) {
  Course run;
  std::vector<Nanos> answers;  // of the batches, ascending
  std::size_t arrived = 0;
  std::size_t taken = 0;
  Nanos now = 0;
  for (int step = 0; step < 100'000 && taken < ready_ns.size(); ++step) {
    while (arrived < ready_ns.size() && ready_ns[arrived] <= now && arrived - taken < capacity) ++arrived;
    const std::vector<Nanos> deadlines(arrived - taken, kNever);
    const auto in_flight = static_cast<std::uint32_t>(
        std::ranges::count_if(answers, [&](Nanos answer) { return answer > now; }));
    QueueSummary queue{deadlines, capacity, in_flight, 2};
    if (arrived > taken) queue.oldest_ready_ns = ready_ns[taken];
    if (arrived < ready_ns.size()) queue.next_ready_ns = ready_ns[arrived];
    queue.device_free_ns = answers.empty() ? 0 : answers.back();
    const Decision decision = decide(queue, model, now);
    if (decision.action == Action::kCut) {
      run.batches.push_back(decision.rows);
      run.cut_ns.push_back(now);
      answers.push_back(std::max(now, queue.device_free_ns) + model.service_ns(decision.rows));
      taken += decision.rows;
      continue;
    }
    Nanos next = decision.until_ns;
    if (arrived < ready_ns.size() && ready_ns[arrived] > now) next = std::min(next, ready_ns[arrived]);
    for (const Nanos answer : answers) {
      if (answer > now) next = std::min(next, answer);
    }
    now = next;
  }
  EXPECT_EQ(taken, ready_ns.size()) << "every row goes";
  return run;
}

std::vector<Nanos> every(Nanos interval_ns, std::size_t rows) {
  std::vector<Nanos> times(rows);
  for (std::size_t i = 0; i < rows; ++i) times[i] = static_cast<Nanos>(i + 1) * interval_ns;
  return times;
}

TEST(BatchRuleOverTime, ALoneRowGoesTheMomentItIsReady) {
  const Course run = simulate({5 * kMs}, 32, kModel);
  EXPECT_EQ(run.cut_ns, std::vector<Nanos>{5 * kMs});
}

TEST(BatchRuleOverTime, SparseRowsNeverWait) {
  const std::vector<Nanos> times = every(20 * kMs, 30);
  const Course run = simulate(times, 32, kModel);
  EXPECT_EQ(run.cut_ns, times);
}

TEST(BatchRuleOverTime, RowsThatAreThereTogetherGoTogether) {
  const Course run = simulate(std::vector<Nanos>(64, kMs), 16, kModel);
  EXPECT_EQ(run.batches, (std::vector<std::uint32_t>{16, 16, 16, 16}));
}

TEST(BatchRuleOverTime, ABurstFormsLargeBatches) {
  for (const Nanos decode_ns : {kMs / 10, kMs / 2, kMs}) {
    for (const std::uint32_t capacity : {8U, 16U, 32U}) {
      const Course run = simulate(every(decode_ns, 64), capacity, kModel);
      EXPECT_LE(run.batches.size(), 64 / capacity + 4) << decode_ns << " " << capacity;
    }
  }
}

TEST(BatchRuleOverTime, AnOverloadedDeviceGetsFullBatchesOnly) {
  const Course run = simulate(every(kMs, 400), 16, kModel);
  EXPECT_TRUE(
      std::all_of(run.batches.begin() + 3, run.batches.end() - 1, [](auto rows) { return rows == 16; }));
}

TEST(BatchRuleOverTime, AFreeCallIsNeverWaitedFor) {
  // With no fixed cost nothing is saved by going together, so an idle device never waits.
  const ServiceModel free_call{.fixed_ns = 0, .per_row_ns = 1e6};
  const std::vector<Nanos> times = every(2 * kMs, 20);
  EXPECT_EQ(simulate(times, 8, free_call).cut_ns, times);
}

}  // namespace
}  // namespace floodgate
