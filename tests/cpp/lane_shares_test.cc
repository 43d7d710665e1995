#include "floodgate/lane_shares.h"

#include <gtest/gtest.h>

#include <random>

namespace floodgate {
namespace {

constexpr LaneFloors kFloors = {0.2, 0, 0.05};  // STANDARD, LIVE, BULK

// Shares of time over many pieces, lanes with work all the while or none at all.
std::array<double, kLanes> served(LaneShares shares, const std::array<bool, kLanes>& busy, int pieces,
                                  std::array<double, kLanes> costs = {1e6, 1e6, 1e6}) {
  std::array<double, kLanes> time = {};
  double all = 0;
  for (int i = 0; i < pieces; ++i) {
    LaneShares::Costs next;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (busy[lane]) next[lane] = costs[lane];
    }
    const auto lane = shares.next(next);
    if (!lane) return {};
    const double cost = costs[lane_index(*lane)];
    shares.charge(*lane, cost, busy);
    time[lane_index(*lane)] += cost;
    all += cost;
  }
  for (double& each : time) each /= all;
  return time;
}

TEST(LaneShares, LiveGetsAllButTheFloors) {
  const auto shares = served(LaneShares(kFloors), {true, true, true}, 10'000);
  EXPECT_NEAR(shares[lane_index(Lane::kLive)], 0.75, 0.01);
  EXPECT_NEAR(shares[lane_index(Lane::kStandard)], 0.2, 0.01);
  EXPECT_NEAR(shares[lane_index(Lane::kBulk)], 0.05, 0.01);
}

TEST(LaneShares, FloorsAreOfTimeAndNotOfPieces) {
  const auto shares = served(LaneShares(kFloors), {true, true, true}, 20'000, {1e6, 3e5, 4e7});
  EXPECT_NEAR(shares[lane_index(Lane::kStandard)], 0.2, 0.02);
  EXPECT_NEAR(shares[lane_index(Lane::kBulk)], 0.05, 0.02);
}

TEST(LaneShares, WhatALaneLeavesGoesToTheMostUrgentOne) {
  auto shares = served(LaneShares(kFloors), {true, false, true}, 10'000);
  EXPECT_NEAR(shares[lane_index(Lane::kStandard)], 0.95, 0.01);
  shares = served(LaneShares(kFloors), {false, false, true}, 100);
  EXPECT_EQ(shares[lane_index(Lane::kBulk)], 1.0);
  shares = served(LaneShares({0, 0, 0}), {true, true, true}, 100);
  EXPECT_EQ(shares[lane_index(Lane::kLive)], 1.0);
}

TEST(LaneShares, NothingIsSavedUpWhileIdle) {
  LaneShares shares(kFloors);
  for (int i = 0; i < 1000; ++i) shares.charge(Lane::kLive, 1e6, {false, true, false});
  LaneShares::Costs costs;
  costs[lane_index(Lane::kBulk)] = costs[lane_index(Lane::kLive)] = 1e6;
  EXPECT_EQ(shares.next(costs), Lane::kLive);
}

TEST(LaneShares, NobodyGoesWhereNothingCan) { EXPECT_EQ(LaneShares(kFloors).next({}), std::nullopt); }

}  // namespace
}  // namespace floodgate
