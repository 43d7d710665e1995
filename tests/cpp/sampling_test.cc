#include "media/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace floodgate {
namespace {

std::vector<std::int64_t> every(std::int64_t step_us, std::int64_t end_us) {
  std::vector<std::int64_t> times;
  for (std::int64_t time = 0; time < end_us; time += step_us) times.push_back(time);
  return times;
}

TEST(PlanFrames, FirstAndLastAreAlwaysThere) {
  const auto keys = every(2'000'000, 60'000'000);
  for (const std::uint32_t frames : {2u, 3u, 7u, 16u, 1024u}) {
    const auto plan = plan_frames(keys, 0, 59'960'000, {frames, 0, 5});
    EXPECT_EQ(plan.front().time_us, 0);
    EXPECT_EQ(plan.back().time_us, 59'960'000);
    EXPECT_LE(plan.size(), frames);
  }
  EXPECT_EQ(plan_frames(keys, 0, 59'960'000, {1, 0, 5}).size(), 1u);
}

TEST(PlanFrames, AQuarterOfTheRestIsDrawnWithTheSeed) {
  const auto keys = every(1'000'000, 60'000'000);
  const auto drawn = [&](std::uint64_t seed) {
    std::set<std::int64_t> times;
    for (const PlannedFrame& frame : plan_frames(keys, 0, 59'960'000, {18, 0, seed})) {
      if (!frame.key && frame.time_us < 59'960'000) times.insert(frame.time_us);
    }
    return times;
  };
  EXPECT_EQ(drawn(1).size(), 4u);
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

TEST(PlanFrames, DrawnTimesReachEveryStretch) {
  std::set<std::int64_t> seconds;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    for (const PlannedFrame& frame : plan_frames({}, 0, 10'000'000, {6, 0, seed}))
      seconds.insert(frame.time_us / 1'000'000);
  }
  EXPECT_EQ(seconds.size(), 11u);
}

TEST(PlanFrames, KeyFramesKeepTheirDistanceAndTimesAscend) {
  const auto keys = every(500'000, 30'000'000);
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto plan = plan_frames(keys, 0, 29'900'000, {64, 700, seed});
    std::int64_t key = -1'000'000;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      EXPECT_TRUE(i == 0 || plan[i].time_us > plan[i - 1].time_us);
      if (!plan[i].key) continue;
      EXPECT_GE(plan[i].time_us - key, 700'000);
      key = plan[i].time_us;
    }
  }
}

TEST(PlanFrames, AShortSequenceGetsFewFramesByItsInterval) {
  const auto size = [](std::int64_t last_us) {
    return plan_frames(every(40'000, last_us), 0, last_us, {64, 500, 9}).size();
  };
  EXPECT_EQ(size(400'000), 2u);
  EXPECT_EQ(size(600'000), 3u);
  EXPECT_EQ(size(3'000'000), 8u);
  EXPECT_EQ(size(60'000'000), 64u);
}

TEST(PlanFrames, WhatFollowsThePlannedFramesCloselyIsSeenNowAndThen) {
  // Content hidden in the first half second of a video, right after its first frame.
  int seen = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    for (const PlannedFrame& frame :
         plan_frames(every(2'000'000, 20'000'000), 0, 20'000'000, {16, 500, seed})) {
      seen += frame.time_us > 0 && frame.time_us < 500'000 ? 1 : 0;
    }
  }
  EXPECT_GT(seen, 50);
}

TEST(PlanFrames, OneFrameIsPlannedOnce) {
  EXPECT_EQ(plan_frames({}, 40, 40, {16, 0, 1}), (std::vector<PlannedFrame>{{40, true}}));
}

}  // namespace
}  // namespace floodgate
