#include "floodgate/lane_shares.h"

#include <algorithm>

namespace floodgate {
namespace {

// A lane whose work cannot go for a while (no room for it) does not come back with a claim on everything.
constexpr double kMostEarned = 1e9;

}  // namespace

std::optional<Lane> LaneShares::next(const Costs& costs) const {
  std::optional<Lane> owed;
  double most = 0;
  for (const Lane lane : kLaneOrder) {
    const std::size_t i = lane_index(lane);
    if (!costs[i] || floors_[i] <= 0 || earned_[i] < *costs[i]) continue;
    // Of several, the one that has waited longest for its share.
    const double waited = earned_[i] / floors_[i];
    if (!owed || waited > most) {
      owed = lane;
      most = waited;
    }
  }
  if (owed) return owed;
  const auto first =
      std::ranges::find_if(kLaneOrder, [&](Lane lane) { return costs[lane_index(lane)].has_value(); });
  return first == kLaneOrder.end() ? std::nullopt : std::optional(*first);
}

void LaneShares::charge(Lane lane, double cost, const std::array<bool, kLanes>& waiting) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    earned_[i] = waiting[i] ? std::min(earned_[i] + floors_[i] * cost, kMostEarned) : 0;
  }
  double& own = earned_[lane_index(lane)];
  own = std::max(0.0, own - cost);
}

}  // namespace floodgate
