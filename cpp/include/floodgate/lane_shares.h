// Which lane goes next: the most urgent one, but for what the others are guaranteed.
//
// Lanes are served in the order LIVE, STANDARD, BULK. Each has a floor, a share of the time that it gets
// while it has work, however busy the lanes before it are: a lane that waits earns its floor of all time
// spent, and goes first once it has earned what its next piece costs (a deficit counter: Shreedhar and
// Varghese, 1995). A lane that has nothing to do earns nothing. Thread rule: a value; no clock.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "floodgate/lane.h"

namespace floodgate {

using LaneFloors = std::array<double, kLanes>;  // by lane_index(); each >= 0, together <= 1

inline constexpr LaneFloors kDefaultFloors = {0.25, 0.25, 0.05};
inline constexpr std::array kLaneOrder = {Lane::kLive, Lane::kStandard, Lane::kBulk};

class LaneShares {
 public:
  using Costs = std::array<std::optional<double>, kLanes>;

  explicit LaneShares(const LaneFloors& floors) : floors_(floors) {}

  // The lane whose next piece goes. `costs`: what each lane's next piece costs, ns; nothing: it has none that
  // could go now.
  [[nodiscard]] std::optional<Lane> next(const Costs& costs) const;
  // A piece of `lane` went. `waiting`: the lanes that had work, that one included.
  void charge(Lane lane, double cost, const std::array<bool, kLanes>& waiting);

 private:
  LaneFloors floors_;
  std::array<double, kLanes> earned_ = {};  // ns
};

}  // namespace floodgate
