#include "floodgate/admission.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace floodgate {
namespace {

constexpr Nanos kMs = kMillisecond;
constexpr Nanos kNow = 1000 * kMs;
constexpr LaneFloors kFloors = {0.2, 0, 0.05};  // STANDARD, LIVE, BULK

Backlog::Outlook look(const Backlog& backlog, Nanos deadline_ms, double share = 1) {
  return backlog.look(Lane::kStandard, kNow + deadline_ms * kMs, 1, 1e6, share, 2 * kMs, kNow);
}

TEST(Backlog, AnEmptyOneIsServedAtOnce) {
  EXPECT_EQ(look({}, 10).late_ns, 0);
  EXPECT_EQ(look({}, 10).finish_ns, kNow + 3 * kMs);
  EXPECT_EQ(look({}, 2).late_ns, kMs);
}

TEST(Backlog, WhatIsDueBeforeCountsAndWhatIsDueLaterDoesNot) {
  Backlog backlog;
  backlog.add(Lane::kStandard, kNow + 20 * kMs, 10);
  backlog.add(Lane::kStandard, kNow + 500 * kMs, 100);
  EXPECT_EQ(look(backlog, 50).finish_ns, kNow + 13 * kMs);
  EXPECT_EQ(look(backlog, 600).finish_ns, kNow + 113 * kMs);
  EXPECT_EQ(look(backlog, 50, 0.5).finish_ns, kNow + 24 * kMs);
  EXPECT_EQ(look(backlog, 600, 0.1).late_ns, 1112 * kMs - 600 * kMs);
}

TEST(Backlog, APromiseIsNotBrokenForALaterOne) {
  Backlog backlog;
  backlog.add(Lane::kStandard, kNow + 111 * kMs, 110);
  EXPECT_GT(look(backlog, 40).late_ns, 0) << "it would be in time, but the others would not";
  Backlog soft;
  soft.add(Lane::kStandard, kNow + 111 * kMs, 110, false);
  EXPECT_EQ(look(soft, 40).late_ns, 0) << "a part of those is better than nothing";
  Backlog lost;
  lost.add(Lane::kStandard, kNow + 111 * kMs, 150);
  EXPECT_EQ(look(lost, 40).late_ns, 0) << "those miss anyhow";
}

TEST(Backlog, LanesCountOnTheirFloorsAndOnWhatOthersLeave) {
  Backlog backlog;
  LaneUsage usage;
  EXPECT_EQ(backlog.share(Lane::kLive, usage, kFloors, kNow), 1);
  backlog.add(Lane::kBulk, kNow + kSecond, 5);
  EXPECT_DOUBLE_EQ(backlog.share(Lane::kLive, usage, kFloors, kNow), 0.95);
  backlog.add(Lane::kStandard, kNow + kSecond, 5);
  EXPECT_DOUBLE_EQ(backlog.share(Lane::kLive, usage, kFloors, kNow), 0.75);
  EXPECT_DOUBLE_EQ(backlog.share(Lane::kStandard, usage, kFloors, kNow), 0.95);
  for (int i = 0; i < 300; ++i) usage.served(Lane::kLive, 9e6, kNow - (300 - i) * 10 * kMs);
  EXPECT_NEAR(usage.share(Lane::kLive, kNow), 0.9, 0.03);
  EXPECT_DOUBLE_EQ(backlog.share(Lane::kStandard, usage, kFloors, kNow), 0.2);
  EXPECT_DOUBLE_EQ(backlog.share(Lane::kBulk, usage, kFloors, kNow), 0.05);
  EXPECT_LT(usage.share(Lane::kLive, kNow + 5 * kSecond), 0.001);
}

TEST(Backlog, EndsWhereItBeganWhateverWasPutIn) {
  std::mt19937_64 random(7);
  Backlog backlog;
  struct Piece {
    Lane lane;
    Nanos deadline;
    std::uint64_t work;
    bool firm;
  };
  std::vector<Piece> in;
  for (int step = 0; step < 20'000; ++step) {
    if (in.empty() || random() % 2 == 0) {
      const Piece piece{static_cast<Lane>(1 + random() % 3),
                        random() % 10 == 0 ? kNever : kNow + static_cast<Nanos>(random() % 2000) * kMs,
                        random() % 50, random() % 3 != 0};
      backlog.add(piece.lane, piece.deadline, piece.work, piece.firm);
      in.push_back(piece);
    } else {
      std::swap(in[random() % in.size()], in.back());
      backlog.remove(in.back().lane, in.back().deadline, in.back().work, in.back().firm);
      in.pop_back();
    }
    const auto outlook =
        backlog.look(static_cast<Lane>(1 + random() % 3), random() % 5 == 0 ? kNever : kNow + 70 * kMs,
                     random() % 5, 1e5, 0.5, kMs, kNow);
    ASSERT_GE(outlook.finish_ns, kNow);
    ASSERT_GE(outlook.late_ns, 0);
  }
  for (const Piece& piece : in) backlog.remove(piece.lane, piece.deadline, piece.work, piece.firm);
  EXPECT_TRUE(backlog.empty());
}

TEST(LaneGuards, AMissRaisesItsOwnLanesGuardAtOnceAndPromisesThatHoldLowerItSlowly) {
  LaneGuards guards;
  EXPECT_EQ(guards.factor(Lane::kLive), 1);
  guards.observe(Lane::kLive, true, false);
  const double risen = guards.factor(Lane::kLive);
  EXPECT_GT(risen, 1.01);
  EXPECT_EQ(guards.factor(Lane::kStandard), 1);
  EXPECT_EQ(guards.factor(Lane::kBulk), 1);
  guards.observe(Lane::kLive, false, false);
  EXPECT_GT(guards.factor(Lane::kLive), 1 + (risen - 1) * 0.99) << "one that holds outweighs no miss";
  for (int i = 0; i < 200; ++i) guards.observe(Lane::kLive, false, false);
  EXPECT_EQ(guards.factor(Lane::kLive), 1) << "two hundred do";
}

TEST(LaneGuards, KeepsOneMissInTwoHundred) {
  const auto with_one_miss_in = [](int observed) {
    LaneGuards guards;
    for (int i = 0; i < 100'000; ++i) guards.observe(Lane::kBulk, i % observed == 0, false);
    return guards.factor(Lane::kBulk);
  };
  EXPECT_LT(with_one_miss_in(250), 1.03) << "fewer are no reason to promise less";
  EXPECT_GT(with_one_miss_in(160), 0.97 * LaneGuards::kMost) << "more are";
}

TEST(LaneGuards, NeverMoreThanDoublesAndForgetsInThousands) {
  LaneGuards guards;
  for (int i = 0; i < 10'000; ++i) guards.observe(Lane::kBulk, true, false);
  EXPECT_NEAR(guards.factor(Lane::kBulk), LaneGuards::kMost, 1e-9);
  int served = 0;
  while (guards.factor(Lane::kBulk) > 1 && served < 100'000) {
    guards.observe(Lane::kBulk, false, false);
    ++served;
  }
  EXPECT_LT(served, 10'000) << "what was learnt once does not bind for long";
  EXPECT_GT(served, 5'000) << "nor is it gone with the next burst";
}

TEST(LaneGuards, AServerThatStandsStillTeachesNothing) {
  LaneGuards guards;
  for (int i = 0; i < 1000; ++i) guards.observe(Lane::kStandard, true, true);
  EXPECT_EQ(guards.factor(Lane::kStandard), 1);
  guards.observe(Lane::kStandard, true, false);
  const double risen = guards.factor(Lane::kStandard);
  for (int i = 0; i < 1000; ++i) guards.observe(Lane::kStandard, false, true);
  EXPECT_EQ(guards.factor(Lane::kStandard), risen) << "nor does what it kept before";
}

TEST(LookAt, ABusyLaneOfOneDeviceTakesNothingOfAnother) {
  Backlog workers;
  Backlog rows;
  rows.add(Lane::kStandard, kNow + 90 * kMs, 10);
  LaneUsage idle;
  LaneUsage busy;
  for (int i = 0; i < 300; ++i) busy.served(Lane::kLive, 10e6, kNow - (300 - i) * 10 * kMs);
  const auto late = [&](const LaneUsage& device) {
    const std::array stages = {Stage{&workers, &idle, 0, 1, 0, 1}, Stage{&rows, &device, 1, 5e6, 0, 1}};
    return look_at(stages, Lane::kStandard, kNow + 100 * kMs, kFloors, 1, kNow).late_ns;
  };
  EXPECT_EQ(late(idle), 0);
  EXPECT_EQ(late(busy), 175 * kMs) << "11 rows of 5 ms at a fifth of the time";
}

}  // namespace
}  // namespace floodgate
